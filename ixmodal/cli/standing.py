"""How a running server stands, read from its `/metrics`, `/models` and `/slots`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from ixmodal.cli.server import Server, ServerError
from ixmodal.server.telemetry import names


@dataclass
class ModelStanding:
    """One model. `first_token` are cumulative buckets: upper bound in seconds, and how many were below it."""

    id: str
    values: dict[str, float] = field(default_factory=dict)
    first_token: list[tuple[float, float]] = field(default_factory=list)
    state: str = "?"
    pid: int | None = None
    memory_mib: int | None = None

    def value(self, name: str) -> float | None:
        """A metric's value; None if the model has none of that name."""
        return self.values.get(name)


@dataclass
class Standing:
    """All models at one moment (`time.monotonic()`). `slots` is None for who is no admin."""

    at: float
    models: dict[str, ModelStanding]
    slots: list[dict[str, Any]] | None


def look(server: Server) -> Standing:
    """Ask a server how it stands. Raises `ServerError`."""
    # Imported here: it takes a while, and the command's help needs none of it.
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(server.read("/metrics").text))
        found: dict[str, ModelStanding] = {}
        for sample in (sample for family in families for sample in family.samples):
            _note(found, sample.name, sample.labels, sample.value)
        _note_run_time(found, server.read("/models"))
        slots = _data(server.read("/slots"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ServerError(f"{server.url} shows no metrics of ixmodal; is it an ixmodal server?") from None
    if not found:
        raise ServerError(f"{server.url} shows no metrics of ixmodal; is it an ixmodal server?")
    return Standing(time.monotonic(), found, slots)


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """A quantile of cumulative buckets, linear within one, as Prometheus' `histogram_quantile`; None of nothing."""
    if not buckets or not buckets[-1][1]:
        return None
    wanted, lower, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower


def speed(now: ModelStanding, before: ModelStanding | None, seconds: float) -> float | None:
    """Tokens of answers a second since an earlier look; None without one."""
    ours = now.value(names.GENERATED_TOKENS)
    theirs = before.value(names.GENERATED_TOKENS) if before else None
    if ours is None or theirs is None or seconds <= 0:
        return None
    return max(0.0, ours - theirs) / seconds


def _note(found: dict[str, ModelStanding], name: str, labels: dict[str, str], value: float) -> None:
    id = labels.get("model")
    if name == names.MODEL_STATE and id:
        model = found.setdefault(id, ModelStanding(id))
        model.state = labels["state"] if value else model.state
    elif id and name == f"{names.FIRST_TOKEN_SECONDS}_bucket":
        found.setdefault(id, ModelStanding(id)).first_token.append((float(labels["le"]), value))
    elif id in found and set(labels) == {"model"}:
        found[id].values[name] = value


def _note_run_time(found: dict[str, ModelStanding], response: httpx.Response) -> None:
    for listed in _data(response) or []:
        run_time = listed.get("run_time")
        if run_time and listed["id"] in found:
            model = found[listed["id"]]
            model.pid, model.memory_mib = run_time["engine_pid"], run_time["memory"]["resident_mib"]


def _data(response: httpx.Response) -> list[dict[str, Any]] | None:
    return [dict(item) for item in response.json()["data"]] if response.is_success else None
