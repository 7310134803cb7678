"""Functions that tests declare as tools."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from decimal import Decimal

release = threading.Event()
"""Ends `hang`."""
seen: list[str] = []
"""What tools did."""


async def wait_for(what: str) -> None:
    while what not in seen:  # noqa: ASYNC110  # in a test
        await asyncio.sleep(0.01)


class Place(BaseModel):
    """Where on earth."""

    city: str
    altitude: int = 0


def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """Tell the weather.

    Of any city.

    Args:
        city: The city's name,
            in English.
        days (int): How many days ahead.

    Returns:
        A sentence.
    """
    return f"{city}: 20 {unit} for {days} days"


def every_kind(
    whole: int,
    real: float,
    flag: bool,
    text: str,
    choice: Literal["a", 1],
    maybe: Optional[int],  # noqa: UP045  # as many write it
    numbers: list[int],
    table: dict[str, float],
    place: Place,
    bounded: Annotated[int, Field(ge=1, le=3, description="One to three.")] = 2,
    anything: Any = None,
) -> dict[str, Any]:
    return dict(locals())


def reserved_names(schema: str, json: int, model_config: int = 0, _hidden: int = 0) -> Any:
    return [schema, json, model_config, _hidden]


def opaque_default(x: Annotated[Any, Field()] = object()) -> str:  # noqa: B008  # no JSON, on purpose
    return type(x).__name__


async def add(a: int, b: int) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b


async def slow_echo(text: str, seconds: float) -> str:
    seen.append(f"begin {text}")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        seen.append(f"cancelled {text}")
        raise
    seen.append(f"end {text}")
    return text


async def stubborn(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            seen.append("ignored")
    return "late"


def hang() -> str:
    seen.append("hang")
    release.wait(20)
    return "released"


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def wrapped(a: int) -> Awaitable[int]:
    return add(a, 1)


def fail(message: str) -> str:
    raise ValueError(message)


async def fail_async() -> str:
    raise TimeoutError("the other side was slow")


async def cancel_itself() -> str:
    raise asyncio.CancelledError


def leave() -> str:
    sys.exit(3)


async def leave_async() -> str:
    sys.exit(3)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def unspeakable() -> str:
    raise UnspeakableError


def stop_iteration() -> str:
    return str(next(iter(())))


def megabytes(count: int) -> str:
    return "é" * (count * 1024 * 1024 // 2)


async def big_list(count: int) -> list[int]:
    return list(range(count))


def structured() -> dict[str, Any]:
    return {"place": Place(city="Rom"), "nan": float("nan"), "none": None, "set": {1}}


def nothing() -> None:
    return None


def surrogate() -> str:
    return "a\ud800b"


def not_json() -> Any:
    return {"x": object()}


def circular() -> Any:
    items: list[Any] = []
    items.append(items)
    return items


def endless_iterator() -> Any:
    return itertools.count()


class Kit:
    @staticmethod
    def twice(x: int) -> int:
        return 2 * x


NUMBER = 3


def star_args(*values: int) -> int:
    return sum(values)


def star_kwargs(**values: int) -> int:
    return sum(values.values())


def bare(x, y: int = 0) -> int:  # type: ignore[no-untyped-def]  # what is tested
    return int(x) + y


def positional(x: int, /) -> int:
    return x


def field_default(x: int = Field(1, ge=1)) -> int:
    return x


def no_schema(x: threading.Event) -> str:
    return str(x)


def unresolved(x: Decimal) -> str:
    return str(x)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def näme() -> str:
    return ""
