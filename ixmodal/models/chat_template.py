"""From messages to prompt pieces: text in which nothing is special, and control token ids.

A chat template is a Jinja program that a stranger put into a model file, and its inputs are texts that a stranger put
into a request. The first is run in a sandbox. The second must never become a control token: every place where a
user's text spells one, or could be completed to one, is marked before rendering, so that only control tokens that the
template itself wrote are found afterwards.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ixmodal.errors import InvalidRequestError
from ixmodal.models.vocabulary import Vocabulary

MAX_RENDERED_CHARACTERS = 16 * 1024 * 1024
_MAX_FACTOR = 1_000_000
Piece = str | int
"""A text, or the id of a control token."""
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class TemplateError(Exception):
    """Raised by a template's own `raise_exception`, with its words."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which a template can't multiply itself to death either."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) if isinstance(x, str | list | tuple) else abs(x) for x in (left, right)]
        if operator == "**" or max(sizes) > _MAX_FACTOR:
            raise TemplateError(f"the template computes {type(left).__name__} {operator} {type(right).__name__}")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """A compiled template and the control tokens it may write."""

    def __init__(self, source: str, vocabulary: Vocabulary) -> None:
        """Compile `source`. Raises `ValueError` where it is not valid Jinja."""
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template can't be compiled: {error}") from None
        self._names = {
            "bos_token": vocabulary.text_of(vocabulary.bos_id),
            "eos_token": vocabulary.text_of(vocabulary.eos_id),
        }
        self._control_ids = vocabulary.control_ids
        self._guard = ControlGuard(self._control_ids)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[Piece]:
        """The prompt that asks the assistant to answer.

        Raises:
            InvalidRequestError: the template refuses the messages, in its own words, or fails on them.
        """
        mark = self._guard.choose_mark(messages, tools)
        guarded = {
            "messages": self._guard.apply(list(messages), mark),
            "tools": self._guard.apply(list(tools), mark) or None,
            "add_generation_prompt": True,
        }
        parts: list[str] = []
        length = 0
        try:
            for part in self._template.generate(**guarded, **self._names):
                length += len(part)
                if length > MAX_RENDERED_CHARACTERS:
                    raise TemplateError(f"the prompt grew over {MAX_RENDERED_CHARACTERS} characters")
                parts.append(part)
        except TemplateError as error:
            raise InvalidRequestError(str(error), param="messages", code="chat_template_error") from None
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise InvalidRequestError(
                f"the model's chat template can't render these messages: {error}",
                param="messages",
                code="chat_template_error",
            ) from None
        return self._guard.split("".join(parts), mark)


class ControlGuard:
    """Keeps users' text apart from the control tokens that a template writes."""

    def __init__(self, control_ids: Mapping[str, int]) -> None:
        self._ids = dict(control_ids)
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._prefixes = {text[:end] for text in self._ids for end in range(1, len(text))}
        self._suffixes = {text[start:] for text in self._ids for start in range(1, len(text))}

    def choose_mark(self, *inputs: Any) -> str:
        """A character that occurs nowhere in the inputs. Raises `InvalidRequestError` if all candidates do."""
        used = json.dumps(inputs, ensure_ascii=False)
        for mark in _NONCHARACTERS:
            if mark not in used:
                return mark
        raise InvalidRequestError("the messages use every Unicode noncharacter; remove them", param="messages")

    def apply(self, value: Any, mark: str) -> Any:
        """A copy of JSON-like data in which no string spells a control token, alone or with its neighbours."""
        if isinstance(value, str):
            return self._mark(value, mark)
        if isinstance(value, Mapping):
            # Roles are a closed set that templates compare and often write out: they hold no control token.
            return {self._mark(k, mark): v if k == "role" else self.apply(v, mark) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.apply(item, mark) for item in value]
        return value

    def _mark(self, text: str, mark: str) -> str:
        text = self._pattern.sub(lambda match: match[0][0] + mark + match[0][1:], text)
        if self._touches(text, len(text) - 1, -1, self._prefixes):
            text += mark
        if self._touches(text, 0, 1, self._suffixes) or any(text and text in token for token in self._ids):
            text = mark + text
        return text

    def _touches(self, text: str, start: int, step: int, edges: set[str]) -> bool:
        longest = min(len(text), max(map(len, edges), default=0))
        pieces = (text[:n] if step > 0 else text[-n:] for n in range(1, longest + 1))
        return any(piece in edges for piece in pieces)

    def split(self, rendered: str, mark: str) -> list[Piece]:
        """Cut a rendered prompt at the template's own control tokens and take the marks out of the rest."""
        pieces: list[Piece] = []
        at = 0
        for match in self._pattern.finditer(rendered):
            self._add_text(pieces, rendered[at : match.start()], mark)
            pieces.append(self._ids[match[0]])
            at = match.end()
        self._add_text(pieces, rendered[at:], mark)
        return pieces

    @staticmethod
    def _add_text(pieces: list[Piece], text: str, mark: str) -> None:
        if text := text.replace(mark, ""):
            pieces.append(text)


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=bool(options.get("sort_keys")))


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout)
