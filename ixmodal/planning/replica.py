"""One replica in the simulation: a queue, slots, and an engine that does one forward after another."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator

import simpy

from ixmodal.planning.engine import Job, SimulatedEngine
from ixmodal.planning.speeds import Speeds


class Replica:
    """What arrives during a forward joins after it, as the engine looks at its socket between two forwards."""

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
        self._engine = SimulatedEngine(speeds, slots, batch_size)
        self._overhead = speeds.overhead_seconds
        self._slots, self._queue_timeout = slots, queue_timeout
        self._on_done = on_done
        self._joining: deque[tuple[float, Job]] = deque()
        """Jobs on their way from the queue to the engine, and when they are there."""
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
        return self._in_slots + len(self._queue)

    @property
    def _in_slots(self) -> int:
        return len(self._engine.running) + len(self._joining)

    def accept(self, job: Job) -> None:
        """Put a job into a slot or the queue."""
        job.placed = self._environment.now
        self._queue.append(job)
        self._fill()
        if not self._changed.triggered:
            self._changed.succeed()

    def _fill(self) -> None:
        now = self._environment.now
        while self._queue and self._in_slots < self._slots:
            job = self._queue.popleft()
            if now - job.placed > self._queue_timeout:
                job.refused, job.finished = True, job.placed + self._queue_timeout
                continue
            job.started = now
            # The overhead of one that has waited is already behind it.
            there = max(now, job.placed + self._overhead)
            self._joining.append((max(there, self._joining[-1][0]) if self._joining else there, job))

    def _run(self) -> Generator[simpy.Event, None, None]:
        while True:
            self._join(before=self._environment.now)
            if self._engine.running:
                yield from self._forward()
            elif self._joining:
                yield self._environment.timeout(max(0.0, self._joining[0][0] - self._environment.now))
                self._join(before=math.nextafter(self._environment.now, math.inf))
            else:
                self.idle_since = self._environment.now
                yield self._changed
                self._changed = self._environment.event()

    def _join(self, before: float) -> None:
        while self._joining and self._joining[0][0] < before:
            self._engine.running.append(self._joining.popleft()[1])

    def _forward(self) -> Generator[simpy.Event, None, None]:
        """Do the next forwards, up to the end of the one during which a job arrives."""
        forwards = self._engine.next_forwards()
        began, count = self._environment.now, forwards.count
        self._changed = self._environment.event()
        if not self._joining:
            yield self._environment.timeout(count * forwards.seconds) | self._changed
        if self._joining:
            passed = max(0.0, self._joining[0][0] - began)
            count = min(count, math.floor(passed / forwards.seconds) + 1)
        end = began + count * forwards.seconds
        if end > self._environment.now:
            yield self._environment.timeout(end - self._environment.now)
        self.busy_seconds += count * forwards.seconds
        forwards.run(count)
        self._note()

    def _note(self) -> None:
        """Note first tokens and ends, and let the next ones in."""
        now = self._environment.now
        ended = []
        for job in self._engine.running:
            if job.first_token is None and not job.prompt_left:
                job.first_token = now
            if not job.answer_left:
                job.finished = now
                ended.append(job)
        for job in ended:
            self._engine.running.remove(job)
        if ended:
            self._fill()
            if not self._in_slots:
                self.idle_since = now
            self._on_done(self)
