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
_KEYS = frozenset(
    re.findall(
        r"\w+",
        "arguments content description enum function id items name parameters properties reasoning_content required "
        "role strict tool_call_id tool_calls type",
    )
)
"""Names of the API that templates look up."""
_VALUES = frozenset(
    re.findall(
        r"\w+",
        "array assistant boolean developer function integer null number object string system text tool user",
    )
)
"""Values of `role` and `type` that templates compare, and at times write between `<|` and `|>`."""


class TemplateError(Exception):
    """Raised by a template's own `raise_exception`, with its words."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which a template can't multiply itself to death either."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) if isinstance(x, str | list | tuple) else abs(x) for x in (left, right)]
        repeats = isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple)
        if operator == "**" or max(sizes) > _MAX_FACTOR or (repeats and sizes[0] * sizes[1] > _MAX_FACTOR):
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
        except (jinja2.TemplateError, SyntaxError, RecursionError, MemoryError) as error:
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
        try:
            return self._render(messages, tools)
        except TemplateError as error:
            raise InvalidRequestError(str(error), param="messages", code="chat_template_error") from None
        except MemoryError:
            raise InvalidRequestError(
                "the model's chat template needs more memory than it may have; send fewer or shorter messages",
                param="messages",
                code="chat_template_error",
            ) from None
        except _FAILURES as error:
            raise InvalidRequestError(
                f"the model's chat template can't render these messages: {error}",
                param="messages",
                code="chat_template_error",
            ) from None

    def _render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
        mark = self._guard.choose_mark(messages, tools)
        guarded = {
            "messages": self._guard.apply(list(messages), mark),
            "tools": self._guard.apply(list(tools), mark) or None,
            "add_generation_prompt": True,
        }
        parts: list[str] = []
        length = 0
        for part in self._template.generate(**guarded, **self._names):
            length += len(part)
            if length > MAX_RENDERED_CHARACTERS:
                raise TemplateError(f"the prompt grew over {MAX_RENDERED_CHARACTERS} characters")
            parts.append(part)
        return self._guard.split("".join(parts), mark)


class ControlGuard:
    """Keeps users' text apart from the control tokens that a template writes.

    Case makes no difference to what is marked, and neither does white space around a text: templates may strip it or
    write it in capitals. A control token of a single character can't be told from a user's: templates can't write it.
    """

    def __init__(self, control_ids: Mapping[str, int]) -> None:
        self._ids = {text: id for text, id in control_ids.items() if len(text) > 1}
        longest_first = sorted(self._ids, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._pattern = re.compile(alternatives)
        self._beginning = re.compile(f"(?=(?:{alternatives}))(.)", re.IGNORECASE | re.DOTALL)
        self._lowered = {text.lower() for text in self._ids}
        self._prefixes = {text[:end] for text in self._lowered for end in range(1, len(text))}
        self._suffixes = {text[start:] for text in self._lowered for start in range(1, len(text))}

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
            return {
                k if k in _KEYS else self.apply(k, mark): v if self._is_word(k, v) else self.apply(v, mark)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.apply(item, mark) for item in value]
        return value

    @staticmethod
    def _is_word(key: Any, value: Any) -> bool:
        return key in ("role", "type") and isinstance(value, str) and value in _VALUES

    def _mark(self, text: str, mark: str) -> str:
        text = self._beginning.sub(rf"\1{mark}", text)
        if core := text.strip():
            text = text.replace(core, self._mark_edges(core, mark), 1)
        return self._mark_edges(text, mark)

    def _mark_edges(self, text: str, mark: str) -> str:
        lowered = text.lower()
        longest = max(map(len, self._lowered), default=0)
        if any(lowered[-n:] in self._prefixes for n in range(1, longest)):
            text += mark
        if any(lowered[:n] in self._suffixes for n in range(1, longest)) or (
            lowered and any(lowered in token for token in self._lowered)
        ):
            text = mark + text
        return text

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


_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
)
"""What a template does to itself, recursion without end included."""


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(
        value,
        ensure_ascii=bool(options.get("ensure_ascii")),
        indent=indent,
        separators=options.get("separators"),
        sort_keys=bool(options.get("sort_keys")),
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout)
