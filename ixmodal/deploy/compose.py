"""A spec as a compose file: weights, server, Prometheus, and Grafana with our dashboard."""

from __future__ import annotations

from typing import Any

from ixmodal.deploy.container import image_name, target_of
from ixmodal.deploy.monitoring import SCRAPE_KEY, SCRAPE_VARIABLE, needs_scrape_key
from ixmodal.deploy.target import (
    HOME,
    HUB_TOKEN,
    PORT,
    SPEC_DIRECTORY,
    SPEC_FILE,
    STATE_VARIABLE,
    TEMPORARY,
    downloads,
    environment,
    gpu_count,
    grace_seconds,
    optional_secrets,
    secrets,
)
from ixmodal.spec import App

PROMETHEUS = "prom/prometheus:v3.5.0"
GRAFANA = "grafana/grafana:12.1.1"
_LOOPBACK = "127.0.0.1"
Build = dict[str, str]


def compose(spec: App, context: str, dockerfile: str) -> dict[str, Any]:
    """The compose file.

    Args:
        spec: the deployment.
        context: the directory that is sent to the build, seen from the compose file.
        dockerfile: the Dockerfile, seen from there.

    Raises:
        SpecError: keys that stand in the spec itself.
    """
    build = {"context": context, "dockerfile": dockerfile, "target": target_of(spec)}
    pulls = bool(spec.weights and downloads(spec))
    services = {
        **({"pull": _pull(spec, build)} if pulls else {}),
        "server": _server(spec, build, pulls=pulls),
        "prometheus": _prometheus(spec),
        "grafana": _grafana(),
    }
    volumes: dict[str, Any] = {"state": {}, "prometheus": {}, "grafana": {}}
    if spec.weights:
        volumes["weights"] = {"name": spec.weights.name}
    file = {"name": spec.name, "services": services, "configs": {"spec": {"file": SPEC_FILE}}, "volumes": volumes}
    return {**file, "secrets": {SCRAPE_KEY: {"environment": SCRAPE_VARIABLE}}} if needs_scrape_key(spec) else file


def _container(spec: App, build: Build) -> dict[str, Any]:
    """What the server and the pull have in common."""
    return {
        "image": image_name(spec),
        "build": build,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": [TEMPORARY],
        "environment": environment(spec),
        "configs": [{"source": "spec", "target": f"{SPEC_DIRECTORY}/{SPEC_FILE}"}],
    }


def _volume(spec: App, *, read_only: bool) -> list[dict[str, Any]]:
    if spec.weights is None:
        return []
    return [{"type": "volume", "source": "weights", "target": spec.weights.mount, "read_only": read_only}]


def _pull(spec: App, build: Build) -> dict[str, Any]:
    shared = _container(spec, build)
    return {
        **shared,
        "command": ["pull"],
        "environment": {**shared["environment"], HUB_TOKEN: f"${{{HUB_TOKEN}:-}}"},
        "volumes": [_state(), *_volume(spec, read_only=False)],
    }


def _server(spec: App, build: Build, *, pulls: bool) -> dict[str, Any]:
    shared = _container(spec, build)
    keys = {secret.variable: f"${{{secret.variable}:?set it; the spec takes keys from it}}" for secret in secrets(spec)}
    defaults = {STATE_VARIABLE: spec.state.url or "", HUB_TOKEN: ""}
    for secret in optional_secrets(spec):
        keys[secret.variable] = f"${{{secret.variable}:-{defaults[secret.variable]}}}"
    service = {
        **shared,
        "environment": {**shared["environment"], **keys},
        "volumes": [_state(), *_volume(spec, read_only=True)],
        "ports": [f"{_LOOPBACK}:{PORT}:{PORT}"],
        "restart": "unless-stopped",
        "stop_grace_period": f"{grace_seconds(spec)}s",
    }
    if pulls:
        service["depends_on"] = {"pull": {"condition": "service_completed_successfully"}}
    if any(model.mlock for model in spec.models):
        service["ulimits"] = {"memlock": -1}
    if reservations := _reservations(spec):
        service["deploy"] = {"resources": {"reservations": reservations}}
    return service


def _state() -> dict[str, Any]:
    return {"type": "volume", "source": "state", "target": HOME}


def _reservations(spec: App) -> dict[str, Any]:
    reservations: dict[str, Any] = {}
    if spec.cpu:
        reservations["cpus"] = f"{spec.cpu:g}"
    if spec.memory_mib:
        reservations["memory"] = f"{spec.memory_mib}M"
    if gpus := gpu_count(spec):
        reservations["devices"] = [{"driver": "nvidia", "count": gpus, "capabilities": ["gpu"]}]
    return reservations


def _prometheus(spec: App) -> dict[str, Any]:
    files = {"prometheus.yml": "prometheus/prometheus.yml", "rules.yml": "prometheus/rules.yml"}
    return {
        **({"secrets": [SCRAPE_KEY]} if needs_scrape_key(spec) else {}),
        "image": PROMETHEUS,
        "volumes": [
            *(_file(f"./{source}", f"/etc/prometheus/{name}") for name, source in files.items()),
            {"type": "volume", "source": "prometheus", "target": "/prometheus"},
        ],
        "ports": [f"{_LOOPBACK}:9090:9090"],
        "restart": "unless-stopped",
    }


def _grafana() -> dict[str, Any]:
    return {
        "image": GRAFANA,
        "environment": {  # whoever reaches this machine's loopback may look, and nobody may change anything
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_AUTH_DISABLE_LOGIN_FORM": "true",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": "/etc/dashboards/ixmodal.json",
        },
        "volumes": [
            _file("./grafana/provisioning", "/etc/grafana/provisioning"),
            _file("./grafana/dashboards", "/etc/dashboards"),
            {"type": "volume", "source": "grafana", "target": "/var/lib/grafana"},
        ],
        "ports": [f"{_LOOPBACK}:3000:3000"],
        "depends_on": ["prometheus"],
        "restart": "unless-stopped",
    }


def _file(source: str, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "read_only": True}
