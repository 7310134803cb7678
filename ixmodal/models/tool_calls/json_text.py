"""JSON (RFC 8259) read as it arrives: strictly, by its text, without building values."""

from __future__ import annotations

import re

from ixmodal.models.tool_calls.reader import MalformedError, Read, Reader

MAX_DEPTH = 128
"""Deepest nesting read; what will load the text later has limits of its own, from about 200."""
_MAX_SCALAR = 1024
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_SCALAR = re.compile(r"[^ \t\n\r,\]}]*")
_SCALAR_VALUE = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HEX = "0123456789abcdefABCDEF"
_CLOSING = {"{": "}", "[": "]"}


def take_string(reader: Reader) -> Read[str]:
    """Take a string and return its text, quotes included."""
    mark = reader.mark()
    yield from reader.take_literal('"')
    while True:
        yield from reader.take_run(_PLAIN)
        following = yield from reader.peek()
        if following == '"':
            reader.take()
            return reader.text_since(mark)
        if following != "\\":
            raise MalformedError
        yield from _take_escape(reader)


def _take_escape(reader: Reader) -> Read[None]:
    reader.take()
    escaped = yield from reader.peek()
    if escaped not in '"\\/bfnrtu':
        raise MalformedError
    reader.take()
    for _ in range(4 if escaped == "u" else 0):
        if (yield from reader.peek()) not in _HEX:
            raise MalformedError
        reader.take()


def take_value(reader: Reader) -> Read[str]:
    """Take any value and return its text."""
    mark = reader.mark()
    open_brackets: list[str] = []
    while True:
        yield from _take_beginning(reader, open_brackets)
        if not (yield from _take_to_next(reader, open_brackets)):
            return reader.text_since(mark)


def _take_beginning(reader: Reader, open_brackets: list[str]) -> Read[None]:
    """Take opening brackets and keys, up to and including the first value without members."""
    while (bracket := (yield from reader.peek())) in _CLOSING:
        if len(open_brackets) == MAX_DEPTH:
            raise MalformedError
        reader.take()
        yield from reader.take_spaces()
        if (yield from reader.peek()) == _CLOSING[bracket]:
            reader.take()
            return
        open_brackets.append(bracket)
        yield from _take_key(reader, bracket)
    if bracket == '"':
        yield from take_string(reader)
    else:
        yield from _take_scalar(reader)


def _take_to_next(reader: Reader, open_brackets: list[str]) -> Read[bool]:
    """After a value: take closing brackets up to a comma and what stands before the next value, if there is one."""
    while open_brackets:
        yield from reader.take_spaces()
        following = yield from reader.peek()
        if following == ",":
            reader.take()
            yield from reader.take_spaces()
            yield from _take_key(reader, open_brackets[-1])
            return True
        if following != _CLOSING[open_brackets[-1]]:
            raise MalformedError
        reader.take()
        open_brackets.pop()
    return False


def _take_key(reader: Reader, bracket: str) -> Read[None]:
    if bracket == "{":
        yield from take_string(reader)
        yield from reader.take_spaces()
        yield from reader.take_literal(":")
        yield from reader.take_spaces()


def _take_scalar(reader: Reader) -> Read[None]:
    """Take a number, true, false or null: all of it, once its end is seen."""
    scalar = yield from reader.peek_run(_SCALAR, _MAX_SCALAR)
    if not _SCALAR_VALUE.fullmatch(scalar):
        raise MalformedError
    reader.take(len(scalar))
