"""One replica in the simulation: a queue, slots, and an engine that gives each running sequence a forward in turn."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import simpy

from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival

_INSTANT = 1e-7
"""Seconds below which a job has nothing left: more than the clock's rounding after a year."""


@dataclass(eq=False)
class Job:
    """A request on its way. Times are seconds of the simulation; None: not yet, or never."""

    arrival: Arrival
    placed: float = 0.0
    started: float | None = None
    first_token: float | None = None
    finished: float | None = None
    refused: bool = False
    turns: float = field(default=0.0, repr=False)
    turn_seconds: float | None = field(default=None, repr=False)
    """A prompt chunk's own time; None while decoding, when the step's time depends on how many decode."""


class Replica:
    """Between two changes of who runs, all running jobs progress in line, so only changes are events.

    A turn of the engine gives each running sequence one forward: a chunk of `batch_size` prompt tokens, or one
    token. The turn's length is what the chunks take plus one decode step for those that decode.
    """

    def __init__(
        self,
        environment: simpy.Environment,
        speeds: Speeds,
        *,
        slots: int,
        batch_size: int,
        queue_timeout: float,
        on_done: Callable[[Replica], None],
    ) -> None:
        self._environment = environment
        self._speeds = speeds
        self._slots, self._batch_size, self._queue_timeout = slots, batch_size, queue_timeout
        self._on_done = on_done
        self._running: list[Job] = []
        self._queue: deque[Job] = deque()
        self._changed = environment.event()
        self.created = environment.now
        self.ready: float | None = None
        self.stopped: float | None = None
        self.idle_since = environment.now
        self.busy_seconds = 0.0
        environment.process(self._run())

    @property
    def load(self) -> int:
        """Requests that run or wait here."""
        return len(self._running) + len(self._queue)

    def accept(self, job: Job) -> None:
        """Put a job into a slot or the queue."""
        job.placed = self._environment.now
        self._queue.append(job)
        self._fill()
        if not self._changed.triggered:
            self._changed.succeed()

    def _fill(self) -> None:
        now = self._environment.now
        while self._queue and len(self._running) < self._slots:
            job = self._queue.popleft()
            if now - job.placed > self._queue_timeout:
                job.refused, job.finished = True, job.placed + self._queue_timeout
                continue
            job.started = now
            job.turns = math.ceil(job.arrival.prompt_tokens / self._batch_size)
            read = job.arrival.prompt_tokens / self._speeds.prefill_tokens_per_second
            job.turn_seconds = (read + self._speeds.overhead_seconds) / job.turns
            self._running.append(job)

    def _turn_seconds(self) -> float:
        reading = [job.turn_seconds for job in self._running if job.turn_seconds is not None]
        return sum(reading) + self._speeds.decode_step(len(self._running) - len(reading))

    def _run(self) -> Generator[simpy.Event, None, None]:
        while True:
            if not self._running:
                self.idle_since = self._environment.now
                yield self._changed
            self._changed = self._environment.event()
            turn = self._turn_seconds()
            began = self._environment.now
            cohort = list(self._running)  # who joins before the next event has made no progress by then
            yield self._environment.timeout(min(job.turns for job in cohort) * turn) | self._changed
            self._progress(cohort, self._environment.now - began, turn)

    def _progress(self, cohort: list[Job], seconds: float, turn: float) -> None:
        self.busy_seconds += seconds
        ended = False
        for job in cohort:
            job.turns -= seconds / turn
            if job.turns * turn <= _INSTANT and not self._next_phase(job):
                self._running.remove(job)
                ended = True
        if ended:
            self._fill()
            if not self._running:
                self.idle_since = self._environment.now
            self._on_done(self)

    def _next_phase(self, job: Job) -> bool:
        """From the prompt to the answer, whose first token comes with the prompt's last chunk. False: it is done."""
        now = self._environment.now
        if job.turn_seconds is not None:
            job.first_token, job.turn_seconds = now, None
            job.turns = job.arrival.completion_tokens - 1
            if job.turns > 0:
                return True
        job.finished = now
        return False
