"""A deployment under a load: replicas that start, take requests, idle and stop, as the spec's scaling says."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import simpy

from ixmodal.planning.engine import Job
from ixmodal.planning.replica import Replica
from ixmodal.planning.speeds import Speeds
from ixmodal.planning.traffic import Arrival, mean_context
from ixmodal.spec import App


@dataclass(frozen=True)
class Deployment:
    """What of a spec decides the outcome. Seconds, requests."""

    slots: int
    batch_size: int
    max_concurrency: int
    target_concurrency: int
    min_replicas: int
    max_replicas: int
    buffer_replicas: int
    scaledown_window: float
    queue_timeout: float
    cold_start: float
    waits_outside: bool
    """True where a platform holds the requests that no replica has room for; else they are refused."""

    @classmethod
    def on_platform(cls, spec: App, cold_start: float) -> Deployment:
        """Replicas that a platform starts and stops; what finds no room waits there."""
        scaling = spec.scaling
        return cls(
            slots=sum(model.slots for model in spec.local_models),
            batch_size=spec.local_models[0].batch_size,
            max_concurrency=spec.max_concurrency,
            target_concurrency=spec.target_concurrency,
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            buffer_replicas=scaling.buffer_replicas,
            scaledown_window=scaling.scaledown_window,
            queue_timeout=spec.limits.queue_timeout,
            cold_start=cold_start,
            waits_outside=True,
        )

    @classmethod
    def on_one_machine(cls, spec: App) -> Deployment:
        """One process that always runs and refuses what its queue can't hold."""
        slots = sum(model.slots for model in spec.local_models)
        return cls(
            slots=slots,
            batch_size=spec.local_models[0].batch_size,
            max_concurrency=slots + spec.endpoint.max_queued,
            target_concurrency=slots,
            min_replicas=1,
            max_replicas=1,
            buffer_replicas=0,
            scaledown_window=0,
            queue_timeout=spec.limits.queue_timeout,
            cold_start=0,
            waits_outside=False,
        )


@dataclass(frozen=True)
class Outcome:
    """What happened: every request, every replica, and when the last of them was done (seconds)."""

    jobs: list[Job]
    replicas: list[Replica]
    end: float

    def replicas_over_time(self) -> list[tuple[float, int]]:
        """Replicas that cost money, as steps: (second, count from then on)."""
        changes = sorted(
            [(replica.created, 1) for replica in self.replicas]
            + [(replica.stopped if replica.stopped is not None else self.end, -1) for replica in self.replicas]
        )
        steps: list[tuple[float, int]] = []
        count = 0
        for at, change in changes:
            count += change
            if steps and steps[-1][0] == at:
                steps.pop()
            steps.append((at, count))
        return steps

    @property
    def replica_seconds(self) -> float:
        """Seconds of all replicas together, starting included."""
        ends = [replica.stopped if replica.stopped is not None else self.end for replica in self.replicas]
        return sum(end - replica.created for end, replica in zip(ends, self.replicas, strict=True))

    @property
    def busy_seconds(self) -> float:
        """Seconds in which replicas' engines worked."""
        return sum(replica.busy_seconds for replica in self.replicas)


class Fleet:
    """Sends each request to the least loaded replica that has room, and asks for as many replicas as the load needs."""

    def __init__(self, environment: simpy.Environment, deployment: Deployment, speeds: Speeds) -> None:
        self._environment = environment
        self._deployment = deployment
        self._speeds = speeds
        self._waiting: deque[Job] = deque()
        self._live: list[Replica] = []
        self.replicas: list[Replica] = []
        for _ in range(deployment.min_replicas):
            self._start(0.0)

    def take(self, job: Job) -> None:
        """Place a request, keep it waiting, or refuse it."""
        if not self._place(job):
            if not self._deployment.waits_outside:
                job.refused, job.finished = True, self._environment.now
                return
            self._waiting.append(job)
        self._scale()

    def _place(self, job: Job) -> bool:
        room = [r for r in self._live if r.ready is not None and r.load < self._deployment.max_concurrency]
        if not room:
            return False
        min(room, key=lambda replica: replica.load).accept(job)
        return True

    def _drain_waiting(self) -> None:
        while self._waiting and self._place(self._waiting[0]):
            self._waiting.popleft()

    def _scale(self) -> None:
        deployment = self._deployment
        outstanding = len(self._waiting) + sum(replica.load for replica in self._live)
        wanted = -(-outstanding // deployment.target_concurrency) + deployment.buffer_replicas * bool(outstanding)
        wanted = min(max(wanted, deployment.min_replicas), deployment.max_replicas)
        for _ in range(wanted - len(self._live)):
            self._start(deployment.cold_start)

    def _start(self, cold_start: float) -> None:
        deployment = self._deployment
        replica = Replica(
            self._environment,
            self._speeds,
            slots=deployment.slots,
            batch_size=deployment.batch_size,
            queue_timeout=deployment.queue_timeout,
            on_done=self._on_done,
        )
        self._live.append(replica)
        self.replicas.append(replica)
        if cold_start:
            self._environment.process(self._become_ready(replica, cold_start))
        else:
            replica.ready = self._environment.now

    def _become_ready(self, replica: Replica, cold_start: float) -> Generator[simpy.Event, None, None]:
        yield self._environment.timeout(cold_start)
        replica.ready = replica.idle_since = self._environment.now
        self._drain_waiting()
        self._rest(replica)

    def _on_done(self, replica: Replica) -> None:
        self._drain_waiting()
        self._rest(replica)

    def _rest(self, replica: Replica) -> None:
        if not replica.load and len(self._live) > self._deployment.min_replicas:
            self._environment.process(self._stop_if_idle(replica))

    def _stop_if_idle(self, replica: Replica) -> Generator[simpy.Event, None, None]:
        since = replica.idle_since
        yield self._environment.timeout(self._deployment.scaledown_window)
        is_idle = not replica.load and replica.idle_since == since and replica.stopped is None
        if is_idle and len(self._live) > self._deployment.min_replicas:
            self._live.remove(replica)
            replica.stopped = self._environment.now


def simulate(arrivals: Sequence[Arrival], deployment: Deployment, speeds: Speeds) -> Outcome:
    """Play the arrivals against the deployment until all are answered and idle replicas have stopped."""
    environment = simpy.Environment()
    fleet = Fleet(environment, deployment, speeds.at_context(mean_context(arrivals)))
    jobs = [Job(arrival) for arrival in arrivals]

    def arrive() -> Generator[simpy.Event, None, None]:
        for job in jobs:
            yield environment.timeout(max(0.0, job.arrival.at - environment.now))
            fleet.take(job)

    environment.process(arrive())
    environment.run()
    return Outcome(jobs, fleet.replicas, environment.now)
