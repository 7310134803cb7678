"""Measures a running server's speeds, for plans: how fast it reads prompts, and how long its decode steps take."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from ixmodal.errors import EngineError
from ixmodal.planning.observations import DecodeStep, FirstToken, Observations
from ixmodal.planning.speeds import Speeds

_WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "with", "as")
_IDS = range(10, 250)
"""Token ids that every vocabulary has: those of bytes, or of the commonest characters."""
_LONGEST = 192
"""Tokens of a prompt at most, so that the observations fit into a small context."""
_STEPS = 24
"""Tokens of an answer whose decode steps are observed."""
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Sequences side by side of which decode steps are measured; those in between lie in line."""


@dataclass(frozen=True)
class Stream:
    """One streamed completion: seconds since it was asked for, and the tokens that the server counted.

    `prompt_tokens` are those that were read; more of the prompt may have been cached.
    """

    first: float
    last: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def context(self) -> float:
        """Tokens in the cache while it decoded, on average."""
        return self.prompt_tokens + self.cached_tokens + self.completion_tokens / 2


class SpeedMeter:
    """Asks a server for completions whose length it chooses (`ignore_eos`), alone and side by side."""

    def __init__(self, base_url: str, model: str, api_key: str | None = None, *, timeout: float = 600) -> None:
        """`base_url` ends in /v1, as OpenAI clients have it."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, limits=httpx.Limits(max_connections=None)
        )
        self._model = model
        self._dice = Random()
        self._takes_ids = True

    def measure(
        self, slots: int, *, batch_size: int = 64, seconds: float = 60, rounds: int = 5, batches: bool | None = None
    ) -> Speeds:
        """Measure with 1 to `slots` sequences. Raises `EngineError` if the server refuses or can't be reached."""
        self.warm_up()
        return self.observe(slots, batch_size=batch_size, seconds=seconds, rounds=rounds, batches=batches).fit(batches)

    def warm_up(self) -> None:
        """A first request that doesn't count, which also tells whether the server takes token ids as a prompt."""
        try:
            self.complete(8, 4)
        except _RefusedError:
            self._takes_ids = False
            self.complete(8, 4)

    def observe(
        self, slots: int, *, batch_size: int = 64, seconds: float = 60, rounds: int = 5, batches: bool | None = None
    ) -> Observations:
        """Everything in turn, `rounds` times or until `seconds` have passed, but at least once.

        Within a round each figure is taken once, so that a machine whose speed changes is slow or fast for all.
        """
        seen = Observations(batch_size)
        began = time.perf_counter()
        for done in range(1, rounds + 1):
            self._observe_reading(seen)
            self._observe_decoding(seen, slots)
            if seen.fit(batches).is_batching:
                for beside in sorted({1, slots - 1} - {0}):
                    self._observe_mixture(seen, beside)
            passed = time.perf_counter() - began
            if passed * (done + 1) / done > seconds:
                break
        return seen

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _observe_reading(self, seen: Observations) -> None:
        most = min(seen.batch_size, _LONGEST)
        for length in sorted({1, max(2, most // 4), max(2, most // 2), max(2, most)}):
            found = self.complete(length, 1)
            seen.first_tokens.append(FirstToken(found.prompt_tokens, found.first))
        # The longest one goes on, for the price of a token when much is in the cache.
        found = self.complete(_LONGEST, _STEPS)
        seen.first_tokens.append(FirstToken(found.prompt_tokens, found.first))
        seen.steps.append(_step([found]))

    def _observe_decoding(self, seen: Observations, slots: int) -> None:
        for count in sorted({n for n in _COUNTS if n < slots} | {slots}):
            with ThreadPoolExecutor(count) as pool:
                seen.steps.append(_step(list(pool.map(lambda _: self.complete(1, _STEPS), range(count)))))

    def _observe_mixture(self, seen: Observations, beside: int, tokens: int = 48) -> None:
        """Prompts of less than a batch, read while `beside` other sequences decode."""
        length = max(1, min(seen.batch_size, _LONGEST) - beside)
        begun = threading.Semaphore(0)
        with ThreadPoolExecutor(beside) as pool:
            running = [pool.submit(self.complete, 1, tokens, begun.release) for _ in range(beside)]
            for _ in running:
                begun.acquire(timeout=self._client.timeout.read)
            for share in (1.0, 0.5):
                # At any moment of a step, not just after the last one.
                time.sleep(self._dice.random() * seen.steps[-1].seconds * 2)
                found = self.complete(max(1, round(length * share)), 1)
                if _all_run(running):
                    seen.first_tokens.append(FirstToken(found.prompt_tokens, found.first, beside))
            for future in running:
                future.result()

    def complete(self, prompt_tokens: int, tokens: int, on_first: Callable[[], object] = lambda: None) -> Stream:
        """One streamed completion of exactly `tokens` tokens, after a prompt that no cache holds.

        Its length is `prompt_tokens` where the server takes ids, else that many words. Raises `EngineError`.
        """
        body = {
            "model": self._model,
            "prompt": self._prompt(prompt_tokens),
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.perf_counter()
        times: list[float] = []
        last = ""
        try:
            with self._client.stream("POST", "completions", json=body) as response:
                for line in _data_lines(response):
                    times.append(time.perf_counter() - began)
                    last = line
                    if len(times) == 1:
                        on_first()
        except httpx.HTTPError as error:
            raise EngineError(f"{self._client.base_url} can't be measured: {error}") from None
        finally:
            on_first()
        usage = _usage(last)
        if len(times) < 2 or not usage:
            raise EngineError("the server's stream ended without usage; only a server that counts can be measured")
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Stream(times[0], times[-2], usage["prompt_tokens"] - cached, usage["completion_tokens"], cached)

    def _prompt(self, length: int) -> list[int] | str:
        if self._takes_ids:
            return self._dice.choices(_IDS, k=length)
        return " ".join(self._dice.choices(_WORDS, k=length))


class _RefusedError(EngineError):
    """The server doesn't take what was asked."""


def _data_lines(response: httpx.Response) -> Iterator[str]:
    if response.is_error:
        response.read()
        kind = _RefusedError if response.status_code in (400, 422) else EngineError
        raise kind(f"the server answered {response.status_code}: {response.text[:300]}")
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield line


def _usage(line: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(line[6:]).get("usage") if line else None
    return found


def _step(streams: list[Stream]) -> DecodeStep:
    """What streams that ran side by side say of a step."""
    seconds = statistics.median((found.last - found.first) / (found.completion_tokens - 1) for found in streams)
    context = statistics.fmean(found.context for found in streams)
    return DecodeStep(len(streams), max(seconds, 1e-6), context)


def _all_run(futures: list[Future[Stream]]) -> bool:
    return not any(future.done() for future in futures)
