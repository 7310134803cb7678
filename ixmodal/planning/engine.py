"""The engine's loop as a model: which requests the next forwards carry, in what order, and how long they take.

It follows `ixmodal.engine.scheduler` forward by forward: an engine that takes one sequence a forward gives each its
turn; one that batches takes all, of `batch_size` tokens together. Where several forwards in line are alike, they are
one step of the simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ixmodal.engine.budget import share
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival


@dataclass(eq=False)
class Job:
    """A request on its way. Times are seconds of the simulation; None: not yet, or never."""

    arrival: Arrival
    placed: float = 0.0
    started: float | None = None
    first_token: float | None = None
    finished: float | None = None
    refused: bool = False
    prompt_left: int = field(init=False, repr=False)
    answer_left: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.prompt_left = self.arrival.prompt_tokens
        self.answer_left = self.arrival.completion_tokens


@dataclass(frozen=True)
class Forwards:
    """`count` forwards in line, of `seconds` each; `run(n)` does the first n of them."""

    count: int
    seconds: float
    run: Callable[[int], None]


class SimulatedEngine:
    """Running jobs, in the order in which their turns come."""

    def __init__(self, speeds: Speeds, slots: int, batch_size: int) -> None:
        self._speeds = speeds
        self._batch_size = max(batch_size, slots) if speeds.is_batching else batch_size
        self.running: deque[Job] = deque()

    def next_forwards(self) -> Forwards:
        """The forwards up to the next that differs, or in which a job ends. At least one job must run."""
        if self._speeds.is_batching:
            return self._batch()
        return self._turns()

    def _batch(self) -> Forwards:
        jobs = list(self.running)
        sizes = share([job.prompt_left or 1 for job in jobs], self._batch_size)
        reading = [(job, size) for job, size in zip(jobs, sizes, strict=True) if job.prompt_left]
        decoding = [job for job in jobs if not job.prompt_left]
        prompt_tokens = sum(size for _, size in reading)

        def run(done: int) -> None:
            for job, size in reading:
                _read(job, size)
            for job in decoding:
                job.answer_left -= done

        count = 1 if reading else min(job.answer_left for job in decoding)
        return Forwards(count, self._speeds.forward(len(decoding), prompt_tokens), run)

    def _turns(self) -> Forwards:
        first = self.running[0]
        if first.prompt_left:
            size = min(self._batch_size, first.prompt_left)

            def read(_: int) -> None:
                _read(first, size)
                self.running.rotate(-1)

            return Forwards(1, self._speeds.forward(0, size), read)
        return self._decode_in_turn()

    def _decode_in_turn(self) -> Forwards:
        jobs = list(self.running)
        decoding = sum(not job.prompt_left for job in jobs)
        ahead = next((at for at, job in enumerate(jobs) if job.prompt_left), None)
        if ahead is None:  # round after round, until the first that is done
            count = min((job.answer_left - 1) * len(jobs) + at + 1 for at, job in enumerate(jobs))
        else:  # one token each, until the first that reads
            count = next((at + 1 for at, job in enumerate(jobs[:ahead]) if job.answer_left == 1), ahead)

        def run(done: int) -> None:
            rounds, rest = divmod(done, len(jobs))
            for at, job in enumerate(jobs):
                job.answer_left -= rounds + (at < rest)
            self.running.rotate(-rest)

        return Forwards(count, self._speeds.decode_step(decoding) / decoding, run)


def _read(job: Job, size: int) -> None:
    job.prompt_left -= size
    if not job.prompt_left:
        job.answer_left -= 1  # the first token comes with the prompt's last chunk
