"""Declared tools: Python functions that a model calls, within limits."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from ixmodal.errors import SpecError
from ixmodal.server.agents.signature import Signature, explain
from ixmodal.server.agents.workers import Workers

logger = logging.getLogger("ixmodal.server.agents")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOTE = "\n[cut: the first {shown} of {total} bytes]"


@dataclass(frozen=True)
class ToolLimits:
    """Bounds of one call: `timeout` in seconds, `max_result_bytes` of the text that the model gets."""

    timeout: float
    max_result_bytes: int


class Tool:
    """A function that a model may call: its name, what models are told of it, and its calls."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Raises `ValueError` if the function can't be a tool."""
        if not _NAME.fullmatch(name):
            raise ValueError("models know names of up to 64 ASCII letters, digits, _ and - only; rename the function")
        self.name = name
        self._function = function
        self._signature = Signature(function)

    @classmethod
    def load(cls, path: str) -> Tool:
        """Import `module:function`. Raises `ValueError` that says why it can't be a tool."""
        module, _, attributes = path.partition(":")
        function = _import(module, attributes)
        if not (inspect.isfunction(function) or inspect.ismethod(function)):
            raise ValueError(f"it is a {type(function).__name__}, not a function; wrap it in one")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError("it yields; a tool returns its result, a list say")
        return cls(attributes.rpartition(".")[2], function)

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as the chat API knows it."""
        function: dict[str, Any] = {"name": self.name}
        if self._signature.description:
            function["description"] = self._signature.description
        return {"type": "function", "function": {**function, "parameters": self._signature.parameters}}

    async def call(self, arguments: str, workers: Workers, limits: ToolLimits) -> str:
        """The result as text, or what went wrong, in words for the model. Raises nothing but cancellation.

        Args:
            arguments: a JSON object, as the model wrote it.
            workers: where the function runs.
            limits: its time, and the size of what is returned.
        """
        try:
            values = self._signature.validate(arguments)
        except ValidationError as error:
            text = f"Error: the arguments of {self.name} are wrong: {explain(error)}"
            return cut(text.encode("utf-8", "replace"), limits.max_result_bytes)
        except Exception as error:  # noqa: BLE001  # a hint's own validators may raise anything
            return self._failed(error, limits)
        return await self._run_within(values, workers, limits)

    async def _run_within(self, values: dict[str, Any], workers: Workers, limits: ToolLimits) -> str:
        try:
            async with asyncio.timeout(limits.timeout) as deadline:
                return await self._run(values, workers, limits.max_result_bytes)
        except TimeoutError as error:
            if not deadline.expired():
                return self._failed(error, limits)
            logger.warning("the tool %s did not end within %g seconds", self.name, limits.timeout)
            why = "; the server is busy with other calls" if workers.full else ""
            return f"Error: {self.name} did not end within {limits.timeout:g} seconds{why}"
        except Exception as error:  # noqa: BLE001  # whatever a tool does, the model is told
            return self._failed(error, limits)

    async def _run(self, values: dict[str, Any], workers: Workers, limit: int) -> str:
        if inspect.iscoroutinefunction(self._function):
            result = await workers.in_task(lambda: self._function(**values))
        else:
            found = await workers.in_thread(lambda: self._run_here(values, limit))
            if isinstance(found, str):
                return found
            result = await workers.in_task(lambda: found)
        # What is large is encoded elsewhere: the event loop must not wait for it.
        return render(result, limit) if isinstance(result, str) else await asyncio.to_thread(render, result, limit)

    def _run_here(self, values: dict[str, Any], limit: int) -> str | Awaitable[Any]:
        result = self._function(**values)
        return result if inspect.isawaitable(result) else render(result, limit)

    def _failed(self, error: Exception, limits: ToolLimits) -> str:
        logger.warning("the tool %s failed", self.name, exc_info=error)
        text = f"Error: {self.name} failed: {_words(error)}"
        return cut(text.encode("utf-8", "replace"), limits.max_result_bytes)


def load_tools(paths: Sequence[str], owner: str) -> tuple[Tool, ...]:
    """Import an agent's tools.

    Raises:
        SpecError: one can't be imported or can't be a tool, or two have one name. Every problem has its line.
    """
    tools: dict[str, Tool] = {}
    problems: list[str] = []
    for index, path in enumerate(paths):
        try:
            tool = Tool.load(path)
            if tool.name in tools:
                raise ValueError(f"another tool has the name {tool.name}; rename one of the functions")
            tools[tool.name] = tool
        except ValueError as error:
            problems.append(f"tools.{index}: {path}: {error}")
    if problems:
        raise SpecError(f"the agent {owner}", problems)
    return tuple(tools.values())


def render(value: Any, limit: int) -> str:
    """A result as text of at most `limit` bytes: a string as it is, anything else as JSON.

    Raises:
        TypeError: it can't be written as JSON.
    """
    if isinstance(value, str):
        return cut(value.encode("utf-8", "replace"), limit)
    if isinstance(value, Iterator):
        raise TypeError(f"it returned a {type(value).__name__}, which can't be written as JSON")
    try:
        return cut(to_json(value, inf_nan_mode="strings"), limit)
    except (ValueError, RecursionError) as error:
        raise TypeError(f"it returned a {type(value).__name__}, which can't be written as JSON: {error}") from None


def cut(data: bytes, limit: int) -> str:
    """The text of `data`, cut to `limit` bytes with a note that says so."""
    if len(data) <= limit:
        return data.decode()
    room = limit - len(_NOTE.format(shown=limit, total=len(data)))
    text = data[: max(room, 0)].decode("utf-8", "ignore")
    return text + _NOTE.format(shown=len(text.encode()), total=len(data))


def _import(module: str, attributes: str) -> Any:
    try:
        found = importlib.import_module(module)
        for name in attributes.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a module may raise anything
        name = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        raise ValueError(f"can't be imported: {name}{error}; write module:function of an installed module") from None
    return found


def _words(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # its own __str__ fails
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
