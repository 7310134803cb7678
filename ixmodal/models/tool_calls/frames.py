"""What stands around calls, for each family of models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ixmodal.models.tool_calls.calls import CallReader
from ixmodal.models.tool_calls.reader import MalformedError, Read

_NAME = re.compile(r"[^\s\[{]*")
_CALL_ID = re.compile(r"[A-Za-z0-9_-]*")
_MAX_NAME = 256


@dataclass(frozen=True)
class Frame:
    """How calls are told from text: markers that begin them, and what is read after one of these."""

    markers: tuple[str, ...]
    take: Callable[[CallReader], Read[None]]
    take_bare: Callable[[CallReader], Read[None]] | None = None
    """Read where an answer begins with a brace and no marker."""


def _take_hermes(calls: CallReader) -> Read[None]:
    """`{"name": …, "arguments": …}` and the closing tag."""
    yield from calls.text.take_spaces()
    yield from calls.take_object()
    yield from calls.text.take_spaces()
    yield from calls.text.take_literal("</tool_call>")
    calls.text.release()


def _take_mistral(calls: CallReader) -> Read[None]:
    """`[{"name": …, "arguments": …}, …]`, or `name[ARGS]{…}`, or `name{…}`."""
    yield from calls.text.take_spaces()
    following = yield from calls.text.peek()
    if following == "[":
        yield from _take_array(calls)
    elif following == "{":
        yield from calls.take_object()
    else:
        yield from _take_named(calls)


def _take_array(calls: CallReader) -> Read[None]:
    calls.text.take()
    following = ","
    while following == ",":
        yield from calls.text.take_spaces()
        yield from calls.take_object()
        yield from calls.text.take_spaces()
        following = yield from calls.text.peek()
        if following not in ",]":
            raise MalformedError
        calls.text.take()
    calls.text.release()


def _take_named(calls: CallReader) -> Read[None]:
    name = yield from calls.text.peek_run(_NAME, _MAX_NAME)
    if name not in calls.names:
        raise MalformedError
    calls.text.take(len(name))
    if (yield from calls.text.is_next("[CALL_ID]")):
        calls.text.take(len("[CALL_ID]"))
        yield from calls.text.take_run(_CALL_ID)
    if (yield from calls.text.is_next("[ARGS]")):
        calls.text.take(len("[ARGS]"))
    yield from calls.text.take_spaces()
    if (yield from calls.text.peek()) != "{":
        raise MalformedError
    yield from calls.take_arguments(name)


def _take_llama(calls: CallReader) -> Read[None]:
    """`{"name": …, "parameters": …}`, more of them after semicolons."""
    yield from calls.text.take_spaces()
    yield from _take_series(calls, bare=False)


def _take_bare_llama(calls: CallReader) -> Read[None]:
    yield from _take_series(calls, bare=True)


def _take_series(calls: CallReader, *, bare: bool) -> Read[None]:
    while True:
        yield from calls.take_object(bare=bare)
        yield from calls.text.take_spaces()
        if (yield from calls.text.peek()) == ";":
            calls.text.take()
            yield from calls.text.take_spaces()


HERMES = Frame(("<tool_call>",), _take_hermes)
"""Hermes 2 Pro and later, Qwen 2.5, Qwen 3: a tag around each call."""
MISTRAL = Frame(("[TOOL_CALLS]",), _take_mistral)
"""Mistral 7B 0.3, Nemo, Small: a marker and an array; from their v11 tokenizer on a marker, a name and arguments."""
LLAMA = Frame(("<|python_tag|>",), _take_llama, _take_bare_llama)
"""Llama 3.1 to 3.3: an object that is the whole answer, at times after a marker."""
