"""Grafana's dashboard for the server's metrics."""

from __future__ import annotations

from typing import Any

from ixmodal.deploy.monitoring import DATASOURCE
from ixmodal.server.telemetry import names as metrics

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_OF_MODEL = '{model=~"$model"}'
_QUANTILES = (0.5, 0.95, 0.99)
Panel = tuple[str, str, list[tuple[str, str]]]
"""Title, Grafana's unit, and pairs of a query and its legend."""


def dashboard() -> dict[str, Any]:
    """The dashboard: what is asked, how long it waits, how fast it is answered, what broke."""
    panels: list[Panel] = [
        ("Requests", "reqps", [_rate(metrics.REQUESTS)]),
        ("Running and waiting", "short", [_sum(metrics.RUNNING, "running"), _sum(metrics.WAITING, "waiting")]),
        ("Slots", "short", [_sum(metrics.SLOTS_BUSY, "busy"), _sum(metrics.SLOTS, "in all")]),
        ("Time to first token", "s", _quantiles(metrics.FIRST_TOKEN_SECONDS)),
        ("Time between tokens", "s", _quantiles(metrics.INTER_TOKEN_SECONDS)),
        ("Time in the queue", "s", _quantiles(metrics.QUEUE_SECONDS)),
        ("Time to read the prompt", "s", _quantiles(metrics.PREFILL_SECONDS)),
        ("Time to write the answer", "s", _quantiles(metrics.DECODE_SECONDS)),
        ("Time of a request", "s", _quantiles(metrics.E2E_SECONDS)),
        (
            "Tokens a second",
            "short",
            [
                _rate(metrics.PROMPT_TOKENS, "prompt"),
                _rate(metrics.CACHED_TOKENS, "of it from the cache"),
                _rate(metrics.GENERATED_TOKENS, "answer"),
            ],
        ),
        ("Context in use", "percentunit", [_mean(metrics.KV_CACHE_USAGE)]),
        ("Models that are ready", "short", [_ready(metrics.MODEL_STATE)]),
        (
            "Sent elsewhere",
            "reqps",
            [_rate(metrics.OVERFLOWS, "overflowed"), _rate(metrics.UPSTREAM_REQUESTS, "to its upstream")],
        ),
        (
            "Cancelled and refused",
            "reqps",
            [_rate(metrics.CANCELS, "cancelled"), _by_limit(metrics.RATE_LIMITED)],
        ),
        ("Engine restarts", "short", [_increase(metrics.ENGINE_RESTARTS)]),
    ]
    return {
        "uid": "ixmodal",
        "title": "ixmodal",
        "tags": ["ixmodal"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_model_variable()]},
        "panels": [_panel(index, panel) for index, panel in enumerate(panels)],
    }


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": DATASOURCE}


def _model_variable() -> dict[str, Any]:
    query = f"label_values({metrics.RUNNING}, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _source(),
        "query": {"query": query, "refId": "model"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    title, unit, queries = panel
    row, column = divmod(index, _COLUMNS)
    return {
        "id": index + 1,
        "title": title,
        "type": "timeseries",
        "datasource": _source(),
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": _source(), "expr": query, "legendFormat": legend}
            for n, (query, legend) in enumerate(queries)
        ],
    }


def _legend(what: str) -> str:
    return f"{{{{model}}}} {what}".strip()


def _rate(metric: str, what: str = "") -> tuple[str, str]:
    return f"sum by (model) (rate({metric}{_OF_MODEL}[$__rate_interval]))", _legend(what)


def _increase(metric: str) -> tuple[str, str]:
    return f"sum by (model) (increase({metric}{_OF_MODEL}[$__rate_interval]))", _legend("")


def _sum(metric: str, what: str) -> tuple[str, str]:
    return f"sum by (model) ({metric}{_OF_MODEL})", _legend(what)


def _mean(metric: str) -> tuple[str, str]:
    return f"avg by (model) ({metric}{_OF_MODEL})", _legend("")


def _ready(metric: str) -> tuple[str, str]:
    return f'sum by (model) ({metric}{{model=~"$model", state="ready"}})', _legend("replicas")


def _by_limit(metric: str) -> tuple[str, str]:
    return f"sum by (limit) (rate({metric}[$__rate_interval]))", "over the limit of {{limit}}"


def _quantiles(metric: str) -> list[tuple[str, str]]:
    by_bucket = f"sum by (model, le) (rate({metric}_bucket{_OF_MODEL}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {by_bucket})", _legend(f"p{q * 100:g}")) for q in _QUANTILES]
