"""Autoscalers: one question, asked by both, and the spec's bounds."""

from __future__ import annotations

import re

from ixmodal import App, Scaling
from ixmodal.deploy.kubernetes import manifests
from ixmodal.deploy.kubernetes.autoscaling import (
    autoscaler,
    demand,
    interceptor_route,
    prometheus_adapter,
    scaled_object,
)
from ixmodal.deploy.kubernetes.workload import deployment
from ixmodal.server.telemetry import names
from tests.deploy.specs import CUDA, SHIPPED


def test_the_question_is_how_many_requests_there_are() -> None:
    assert set(re.findall(r"ixmodal_\w+", demand(SHIPPED, ""))) == {names.RUNNING, names.WAITING}
    assert demand(CUDA, "").endswith("> bool 0) * 8")  # two spare replicas of four requests, while any is asked


def test_both_scalers_ask_it_for_the_pods_of_this_deployment() -> None:
    [rule] = prometheus_adapter(CUDA)["rules"]["external"]
    query = scaled_object(CUDA)["spec"]["triggers"][0]["metadata"]["query"]
    assert rule["metricsQuery"].replace("<<.LabelMatchers>>,", "") == query
    [matcher] = set(re.findall(r'pod=~"([^"]+)"', query))
    assert re.fullmatch(matcher, "fast-7d4b9c6f5-x2x9z")
    assert not re.fullmatch(matcher, "faster-7d4b9c6f5-x2x9z")
    assert not re.fullmatch(matcher, "fast-other-7d4b9c6f5-x2x9z")


def test_the_autoscaler_has_the_bounds_of_the_spec() -> None:
    spec = autoscaler(CUDA)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 7)
    assert spec["scaleTargetRef"]["name"] == deployment(CUDA)["metadata"]["name"]
    [metric] = spec["metrics"]
    [rule] = prometheus_adapter(CUDA)["rules"]["external"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "4"}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 90
    assert autoscaler(SHIPPED)["spec"]["minReplicas"] == 1  # it can't go lower
    assert "replicas" not in deployment(CUDA)["spec"]  # which would fight it at each apply


def test_keda_scales_to_and_from_zero_by_the_request_that_is_held() -> None:
    spec = App(name="idle", scaling=Scaling(max_replicas=3, scaledown_window=60, target_concurrency=2))
    scaled = scaled_object(spec)["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["cooldownPeriod"]) == (0, 3, 60)
    prometheus, held = scaled["triggers"]
    assert (prometheus["type"], prometheus["metadata"]["threshold"]) == ("prometheus", "2")
    route = interceptor_route(spec)
    assert held["type"] == "external-push"
    assert held["metadata"]["interceptorRoute"] == route["metadata"]["name"]
    assert route["spec"]["target"] == {"service": "idle", "portName": "http"}
    assert route["spec"]["scalingMetric"] == {"concurrency": {"targetValue": 2}}
    assert all(isinstance(value, str) for trigger in scaled["triggers"] for value in trigger["metadata"].values())


def test_a_held_request_outlives_a_start_and_its_answer() -> None:
    seconds = {name: int(text[:-1]) for name, text in interceptor_route(SHIPPED)["spec"]["timeouts"].items()}
    limits = SHIPPED.limits
    assert seconds["readiness"] > limits.load_timeout
    assert seconds["responseHeader"] == limits.queue_timeout + limits.request_timeout
    assert seconds["request"] == seconds["readiness"] + seconds["responseHeader"]


def test_nothing_holds_requests_where_a_replica_is_always_there() -> None:
    assert "keda/interceptorroute.yaml" not in manifests(CUDA)
    assert "keda/interceptorroute.yaml" in manifests(SHIPPED)
    assert [trigger["type"] for trigger in scaled_object(CUDA)["spec"]["triggers"]] == ["prometheus"]
    assert scaled_object(CUDA)["spec"]["minReplicaCount"] == 2


def test_the_route_has_the_host_name_of_the_spec() -> None:
    assert interceptor_route(CUDA)["spec"]["rules"] == [{"hosts": ["fast-api"]}]
    assert interceptor_route(SHIPPED)["spec"]["rules"] == [{"hosts": ["shipped"]}]
