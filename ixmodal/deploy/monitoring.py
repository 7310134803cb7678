"""Prometheus and Grafana beside a server: what is scraped, when somebody is told, where dashboards come from."""

from __future__ import annotations

from typing import Any

from ixmodal.deploy.target import PORT
from ixmodal.server.telemetry import names as metrics
from ixmodal.spec import App

DATASOURCE = "prometheus"
JOB = "ixmodal"
SCRAPE_KEY = "scrape-key"
SCRAPE_VARIABLE = "IXMODAL_SCRAPE_KEY"
"""Where a compose file finds one of the server's keys for Prometheus."""


def needs_scrape_key(spec: App) -> bool:
    """Whether Prometheus has to send a key."""
    return bool(spec.endpoint.key_sources) and not spec.endpoint.public_metrics


def prometheus(spec: App) -> dict[str, Any]:
    """Prometheus' configuration beside a compose file's server."""
    key = {"authorization": {"credentials_file": f"/run/secrets/{SCRAPE_KEY}"}} if needs_scrape_key(spec) else {}
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": JOB, **key, "static_configs": [{"targets": [f"server:{PORT}"]}]}],
    }


def rules(spec: App) -> dict[str, Any]:
    """Prometheus' alerts."""
    nearly_full = max(1, round(0.8 * spec.endpoint.max_queued))
    alerts = [
        _alert(
            "IxmodalDown",
            f'up{{job="{JOB}"}} == 0',
            "1m",
            "critical",
            "The server answers no scrape.",
        ),
        _alert(
            "IxmodalModelFailed",
            f'max by (model) ({metrics.MODEL_STATE}{{state=~"failed|unreachable"}}) == 1',
            "1m",
            "critical",
            "{{ $labels.model }} can't be loaded or kept alive, or its upstream can't be reached.",
        ),
        _alert(
            "IxmodalEngineRestarts",
            f"increase({metrics.ENGINE_RESTARTS}[10m]) > 0",
            "0m",
            "warning",
            "The engine of {{ $labels.model }} died and was started again.",
        ),
        _alert(
            "IxmodalQueueNearlyFull",
            f"max by (model) ({metrics.WAITING}) >= {nearly_full}",
            "2m",
            "warning",
            f"{{{{ $value }}}} requests wait for {{{{ $labels.model }}}}; at {spec.endpoint.max_queued} more are "
            "refused. Raise scaling.max_replicas or models.*.slots.",
        ),
        _alert(
            "IxmodalSlowFirstToken",
            f"histogram_quantile(0.95, sum by (model, le) (rate({metrics.FIRST_TOKEN_SECONDS}_bucket[5m]))) > 10",
            "5m",
            "warning",
            "One request in twenty for {{ $labels.model }} waits more than 10 s for its first token.",
        ),
    ]
    return {"groups": [{"name": "ixmodal", "rules": alerts}]}


def datasources() -> dict[str, Any]:
    """Grafana's data source."""
    source = {"name": "Prometheus", "uid": DATASOURCE, "type": "prometheus", "access": "proxy"}
    return {"apiVersion": 1, "datasources": [{**source, "url": "http://prometheus:9090", "isDefault": True}]}


def dashboard_providers() -> dict[str, Any]:
    """Where Grafana finds dashboards."""
    provider = {"name": "ixmodal", "type": "file", "allowUiUpdates": False, "options": {"path": "/etc/dashboards"}}
    return {"apiVersion": 1, "providers": [provider]}


def _alert(name: str, expression: str, lasting: str, severity: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
