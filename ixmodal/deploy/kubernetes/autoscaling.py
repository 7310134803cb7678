"""Two ways to scale: Kubernetes' own autoscaler, and KEDA, which also goes to and from zero. Both ask one question."""

from __future__ import annotations

from typing import Any

from ixmodal.deploy.kubernetes.objects import manifest
from ixmodal.deploy.target import PLACING, answer_seconds, startup_seconds
from ixmodal.server.telemetry import names as metrics
from ixmodal.spec import App

PROMETHEUS = "http://prometheus-server.monitoring.svc"
"""Where Prometheus usually is; an overlay may say otherwise."""
SCALER = "keda-add-ons-http-external-scaler.keda:9090"
"""Where KEDA's HTTP add-on tells how many requests wait."""


def demand(spec: App, matchers: str) -> str:
    """The PromQL of the requests that all replicas hold, running or waiting, and of the spare room that is wanted.

    Divided by `target_concurrency` it is the number of replicas. Spare ones are wanted only while anything is asked.
    """
    load = f"(sum({metrics.RUNNING}{{{matchers}}}) + sum({metrics.WAITING}{{{matchers}}}))"
    spare = spec.scaling.buffer_replicas * spec.target_concurrency
    return f"{load} + ({load} > bool 0) * {spare}" if spare else load


def autoscaler(spec: App) -> dict[str, Any]:
    """The HorizontalPodAutoscaler. It keeps one replica at least: nothing but KEDA wakes a deployment from zero."""
    metric = {
        "type": "External",
        "external": {
            "metric": {"name": _metric_name(spec)},
            "target": {"type": "AverageValue", "averageValue": str(spec.target_concurrency)},
        },
    }
    details = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": spec.name},
        "minReplicas": max(1, spec.scaling.min_replicas),
        "maxReplicas": spec.scaling.max_replicas,
        "metrics": [metric],
        "behavior": _behaviour(spec),
    }
    return manifest(spec, "autoscaling/v2", "HorizontalPodAutoscaler", spec.name, spec=details)


def prometheus_adapter(spec: App) -> dict[str, Any]:
    """Values for the Prometheus adapter's Helm chart: they make `demand` a metric that the autoscaler may ask for."""
    rule = {
        "seriesQuery": f'{metrics.WAITING}{{namespace!="",{_pods(spec)}}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}}},
        "name": {"as": _metric_name(spec)},
        "metricsQuery": demand(spec, f"<<.LabelMatchers>>,{_pods(spec)}"),
    }
    return {"rules": {"external": [rule]}}


def scaled_object(spec: App) -> dict[str, Any]:
    """KEDA's ScaledObject. From zero it is the request held by the HTTP add-on that wakes the first replica."""
    triggers = [
        {
            "type": "prometheus",
            "metricType": "AverageValue",
            "metadata": {
                "serverAddress": PROMETHEUS,
                "query": demand(spec, _pods(spec)),
                "threshold": str(spec.target_concurrency),
                "activationThreshold": "0",
                "ignoreNullValues": "true",
            },
        }
    ]
    if spec.scaling.min_replicas == 0:
        held = {"scalerAddress": SCALER, "interceptorRoute": spec.name}
        triggers.append({"type": "external-push", "metricType": "AverageValue", "metadata": held})
    details = {
        "scaleTargetRef": {"name": spec.name},
        "minReplicaCount": spec.scaling.min_replicas,
        "maxReplicaCount": spec.scaling.max_replicas,
        "pollingInterval": 5,
        "cooldownPeriod": spec.scaling.scaledown_window,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behaviour(spec)}},
        "triggers": triggers,
    }
    return manifest(spec, "keda.sh/v1alpha1", "ScaledObject", spec.name, spec=details)


def interceptor_route(spec: App) -> dict[str, Any]:
    """The HTTP add-on's route: it holds a request while there is no replica, and passes it on to the first one."""
    answer = answer_seconds(spec)
    start = PLACING + startup_seconds(spec)
    details = {
        "target": {"service": spec.name, "portName": "http"},
        "rules": [{"hosts": [spec.endpoint.label or spec.name]}],
        "scalingMetric": {"concurrency": {"targetValue": spec.target_concurrency}},
        "timeouts": {"readiness": f"{start}s", "responseHeader": f"{answer}s", "request": f"{start + answer}s"},
    }
    return manifest(spec, "http.keda.sh/v1beta1", "InterceptorRoute", spec.name, spec=details)


def _pods(spec: App) -> str:
    return f'pod=~"{spec.name}-[a-z0-9]+-[a-z0-9]{{5}}"'


def _metric_name(spec: App) -> str:
    return f"ixmodal_demand_{spec.name.replace('-', '_')}"


def _behaviour(spec: App) -> dict[str, Any]:
    fast = [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]
    slow = [{"type": "Pods", "value": 1, "periodSeconds": 30}]
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": fast},
        "scaleDown": {"stabilizationWindowSeconds": spec.scaling.scaledown_window, "policies": slow},
    }
