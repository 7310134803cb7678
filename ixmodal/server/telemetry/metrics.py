"""What happened since the start, counted. `exposition` shows it with how things stand now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from ixmodal.engine.generation import TOKEN_BOUNDS, Generation
from ixmodal.runtime import Runtime
from ixmodal.server.telemetry import names
from ixmodal.server.telemetry.account import Account, current_account
from ixmodal.server.telemetry.histogram import Histogram

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
_MAX_OUTCOMES = 100
_ANSWERED = frozenset({"stop", "length", "tool_calls", "ok"})
TellLate = Callable[[Account, Generation], None]


class Metrics:
    """Counts of one application. Models, routes and codes are of the spec and of the code: nobody can invent more."""

    def __init__(self, runtime: Runtime, tell_late: TellLate = lambda _account, _generation: None) -> None:
        """Listen to all engines of a runtime; `tell_late` hears of generations that outlived their request."""
        self.runtime = runtime
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By model, route and outcome."""
        self._outcomes: set[str] = set()
        self.cancels: Counter[str] = Counter()
        self.overflows: Counter[str] = Counter()
        self.rate_limited: Counter[str] = Counter()
        """By limit."""
        self.histograms = {
            name: Histogram(TOKEN_BOUNDS if name == names.INTER_TOKEN_SECONDS else _WAITS) for name in names.HISTOGRAMS
        }
        self.reading: defaultdict[str, float] = defaultdict(float)
        """Seconds in which prompts were evaluated, by model."""
        self.writing: defaultdict[str, float] = defaultdict(float)
        """Seconds in which answers were written, by model."""
        for id, served in runtime.models.items():
            if served.client:
                served.client.observer = _Listener(self, id, tell_late)

    def count(self, account: Account) -> None:
        """A request is over."""
        self.requests[account.model, account.route, self._bounded(account.outcome)] += 1
        if account.outcome == "cancelled":
            self.cancels[account.model] += 1
        if account.limit:
            self.rate_limited[account.limit] += 1
        if account.served_by and account.served_by != account.model:
            self.overflows[account.model] += 1
        if account.is_answered:
            self.histograms[names.E2E_SECONDS].observe(account.model, account.seconds)

    def _bounded(self, outcome: str) -> str:
        """The outcome, or `other`: codes of upstreams are their own, and must not become any number of series."""
        if outcome not in self._outcomes and len(self._outcomes) >= _MAX_OUTCOMES:
            return "other"
        self._outcomes.add(outcome)
        return outcome

    def measure(self, model: str, generation: Generation) -> None:
        """A generation is over."""
        observe = {name: partial(histogram.observe, model) for name, histogram in self.histograms.items()}
        sent, first, last = generation.sent, generation.first_token, generation.last_token
        if sent is not None:
            observe[names.QUEUE_SECONDS](sent - generation.began)
        if sent is None or first is None or last is None:
            return
        observe[names.FIRST_TOKEN_SECONDS](first - generation.began)
        observe[names.PREFILL_SECONDS](first - sent)
        observe[names.DECODE_SECONDS](last - first)
        self.histograms[names.INTER_TOKEN_SECONDS].add(model, generation.gaps, last - first)
        self.reading[model] += first - sent
        self.writing[model] += last - first

    def answered(self) -> Counter[tuple[str, str]]:
        """Requests that have their answers, by model and why these ended."""
        found: Counter[tuple[str, str]] = Counter()
        for (model, _, outcome), count in self.requests.items():
            if model and outcome in _ANSWERED:
                found[model, outcome] += count
        return found


class _Listener:
    """Hears of one engine's generations."""

    def __init__(self, metrics: Metrics, model: str, tell_late: TellLate) -> None:
        self._metrics = metrics
        self._model = model
        self._tell_late = tell_late

    def begun(self, generation: Generation) -> None:
        """Say whose it is."""
        if account := current_account():
            generation.owner = account.request_id
            account.generations.append(generation)

    def ended(self, generation: Generation) -> None:
        """Measure it."""
        self._metrics.measure(self._model, generation)
        account = current_account()
        if account and account.ended is not None:
            self._tell_late(account, generation)
