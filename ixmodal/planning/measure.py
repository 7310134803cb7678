"""Measures a running server's speeds, for plans: how fast it reads prompts, and how long its decode steps take."""

from __future__ import annotations

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from ixmodal.errors import EngineError
from ixmodal.planning.speeds import Speeds

_WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "with", "as")
_SHORT, _LONG = 16, 160
"""Words of the two prompts whose difference tells the speed of reading."""


@dataclass(frozen=True)
class Stream:
    """One streamed completion: seconds since it was asked for, and the tokens counted by the server."""

    first: float
    last: float
    prompt_tokens: int
    completion_tokens: int


class SpeedMeter:
    """Asks a server for completions whose length it chooses (`ignore_eos`), alone and side by side."""

    def __init__(self, base_url: str, model: str, api_key: str | None = None, *, timeout: float = 600) -> None:
        """`base_url` ends in /v1, as OpenAI clients have it."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=timeout)
        self._model = model
        self._count = 0
        self._lock = threading.Lock()

    def measure(self, slots: int, *, tokens: int = 48, runs: int = 3) -> Speeds:
        """Measure with 1 to `slots` sequences. Raises `EngineError` if the server refuses or can't be reached."""
        try:
            self.complete(_SHORT, 4)
            short = [self.complete(_SHORT, 2) for _ in range(runs)]
            long = [self.complete(_LONG, 2) for _ in range(runs)]
            steps = [self._step(count, tokens, runs) for count in range(1, slots + 1)]
        except httpx.HTTPError as error:
            raise EngineError(f"{self._client.base_url} can't be measured: {error}") from None
        more_tokens = long[0].prompt_tokens - short[0].prompt_tokens
        more_seconds = max(1e-6, _median_first(long) - _median_first(short))
        prefill = more_tokens / more_seconds
        overhead = max(0.0, _median_first(short) - short[0].prompt_tokens / prefill)
        return Speeds(prefill_tokens_per_second=prefill, decode_step_seconds=tuple(steps), overhead_seconds=overhead)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _step(self, count: int, tokens: int, runs: int) -> float:
        with ThreadPoolExecutor(count) as pool:
            steps = []
            for _ in range(runs):
                streams = list(pool.map(lambda _: self.complete(_SHORT, tokens), range(count)))
                steps += [(stream.last - stream.first) / (tokens - 1) for stream in streams]
        return statistics.median(steps)

    def complete(self, words: int, tokens: int) -> Stream:
        """One streamed completion of exactly `tokens` tokens, after a prompt that no cache holds."""
        body = {
            "model": self._model,
            "prompt": self._prompt(words),
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.perf_counter()
        with self._client.stream("POST", "completions", json=body) as response:
            if response.is_error:
                response.read()
                raise EngineError(f"the server answered {response.status_code}: {response.text[:300]}")
            events: list[tuple[float, dict[str, Any]]] = [
                (time.perf_counter() - began, json.loads(line[6:]))
                for line in response.iter_lines()
                if line.startswith("data: {")
            ]
        if len(events) < 2 or "usage" not in events[-1][1]:
            raise EngineError("the server's stream ended without usage; only a server that counts can be measured")
        usage = events[-1][1]["usage"]
        return Stream(events[0][0], events[-2][0], usage["prompt_tokens"], usage["completion_tokens"])

    def _prompt(self, words: int) -> str:
        with self._lock:
            self._count += 1
            number = self._count
        # The number's digits choose the first words, so that no two prompts begin alike.
        digits = [number // 16**place % 16 for place in range(4)]
        return " ".join(_WORDS[(digits[i % 4] + i // 4) % 16] for i in range(words))


def _median_first(streams: list[Stream]) -> float:
    return statistics.median(stream.first for stream in streams)
