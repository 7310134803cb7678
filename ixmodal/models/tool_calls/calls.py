"""Calls as models write them: a JSON object with a name and arguments, or arguments after a name."""

from __future__ import annotations

import json
import re
from collections.abc import Set as AbstractSet
from typing import NoReturn

from ixmodal.models.tool_calls.events import EventLog
from ixmodal.models.tool_calls.json_text import take_string, take_value
from ixmodal.models.tool_calls.reader import MalformedError, Read, Reader

ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
SPACES = r"[ \t\n\r]*"
UP_TO_NAME = r'\{S("type"S:S"function"S,S)?"name"S:S'.replace("S", SPACES)
"""How a bare object begins, up to the function's name, where only one form is taken for a call."""
_EXACT = re.compile(UP_TO_NAME + '"[^"\\\\]*"')
_BARE_KEYS = ARGUMENT_KEYS | {"name", "type", "id"}


class CallReader:
    """Reads calls, and logs them as they come."""

    def __init__(self, reader: Reader, log: EventLog, names: AbstractSet[str], *, exact: bool = False) -> None:
        self.text = reader
        self.names = names
        self.complete = False
        """Whether only the rest of a call's frame is to come: nothing held is part of another call."""
        self._log = log
        self._exact = exact

    def take_object(self, *, bare: bool = False) -> Read[None]:
        """Take `{"name": …, "arguments": {…}}`, its keys in any order.

        Other keys are passed over, but where the object is `bare`, with no marker in front, any other key shows that
        it is an answer in JSON. A call without arguments has `{}`; the closing brace may be missing.
        """
        mark = self.text.mark()
        yield from self.text.take_literal("{")
        self.complete = False
        name: str | None = None
        early: str | None = None
        seen: set[str] = set()
        more = True
        while more:
            key = yield from self._take_key(seen, bare=bare)
            if key == "name":
                name = yield from self._take_name()
                if bare and self._exact and not _EXACT.fullmatch(self.text.text_since(mark)):
                    raise MalformedError
                if early is not None:
                    self._log_whole(name, early)
            elif key == "arguments" and name is not None:
                yield from self.take_arguments(name)
            elif key == "arguments":
                early = _object_in((yield from take_value(self.text)))
            else:
                yield from take_value(self.text)
            more = yield from self._take_separator()
        if name is None:
            raise MalformedError
        if "arguments" not in seen:
            self._log_whole(name, "{}")

    def take_arguments(self, name: str) -> Read[None]:
        """Take the arguments of a call of `name`: an object, that object's text as a string, or null."""
        if (yield from self.text.peek()) != "{":
            self._log_whole(name, _object_in((yield from take_value(self.text))))
            return
        self.text.release()
        self._log.start_call(name)
        self.text.sink = self._log.add_arguments
        try:
            yield from take_value(self.text)
        finally:
            self.text.hold()
        self._end()

    def _log_whole(self, name: str, arguments: str) -> None:
        self.text.release()
        self._log.start_call(name)
        self._log.add_arguments(arguments)
        self._end()

    def _end(self) -> None:
        self._log.end_call()
        self.text.release()
        self.complete = True

    def _take_key(self, seen: set[str], *, bare: bool) -> Read[str]:
        yield from self.text.take_spaces()
        key = str(json.loads((yield from take_string(self.text))))
        if bare and key not in _BARE_KEYS:
            raise MalformedError
        key = "arguments" if key in ARGUMENT_KEYS else key
        if key in seen:
            raise MalformedError
        seen.add(key)
        yield from self.text.take_spaces()
        yield from self.text.take_literal(":")
        yield from self.text.take_spaces()
        return key

    def _take_name(self) -> Read[str]:
        name = str(json.loads((yield from take_string(self.text))))
        if name not in self.names:
            raise MalformedError
        return name

    def _take_separator(self) -> Read[bool]:
        """Whether another member follows."""
        yield from self.text.take_spaces()
        following = yield from self.text.peek()
        if following in ",}":
            self.text.take()
        elif not self.complete:
            raise MalformedError
        if self.complete and following == "}":
            self.text.release()
        return following == ","


def _object_in(text: str) -> str:
    """The arguments' object, where they were written as an object, as a string that has one, or as null."""
    if text.startswith("{"):
        return text
    if text == "null":
        return "{}"
    try:
        inner = json.loads(text)
        inner.encode()
        if isinstance(json.loads(inner, parse_constant=_refuse), dict):
            return str(inner)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise MalformedError


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
