"""The Deployment and the pull Job: probes, times, hardware, secrets and volumes as the spec says."""

from __future__ import annotations

from typing import Any

import pytest

from ixmodal import App, SpecError
from ixmodal.deploy.kubernetes.weights import claim, pull_job
from ixmodal.deploy.kubernetes.workload import config_map, deployment
from ixmodal.spec import Modal
from ixmodal.spec.sources import load_spec
from tests.deploy.specs import ALL, CUDA, FORWARDED, NO_VOLUME, ONE_REPLICA, PLACED_BY_HAND, SHIPPED


def pod(spec: App) -> dict[str, Any]:
    found: dict[str, Any] = deployment(spec)["spec"]["template"]["spec"]
    return found


def server(spec: App) -> dict[str, Any]:
    found: dict[str, Any] = pod(spec)["containers"][0]
    return found


def secrets(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {v["name"]: v["valueFrom"]["secretKeyRef"] for v in container["env"] if "valueFrom" in v}


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_the_spec_in_the_config_map_is_the_spec(spec: App) -> None:
    assert load_spec(config_map(spec)["data"]["spec.json"], environ={}) == spec


def test_what_only_modal_has_is_not_in_it() -> None:
    assert config_map(App(name="x", modal=Modal(proxy_auth=True))) == config_map(App(name="x"))


def test_another_spec_is_other_pods_and_another_job() -> None:
    def traits(spec: App) -> tuple[str, str]:
        annotations = deployment(spec)["spec"]["template"]["metadata"]["annotations"]
        return annotations["ixmodal/spec"], pull_job(spec)["metadata"]["name"]

    changed = CUDA.model_copy(update={"cpu": 2.0})
    assert traits(CUDA) == traits(CUDA.model_copy())
    assert all(old != new for old, new in zip(traits(CUDA), traits(changed), strict=True))


def test_a_start_may_take_as_long_as_the_spec_allows() -> None:
    def startup(spec: App) -> int:
        probe = server(spec)["startupProbe"]
        seconds: int = probe["periodSeconds"] * probe["failureThreshold"]
        return seconds

    assert 2 * 100 <= startup(CUDA) < 2 * 100 + 10  # two models to load; the Job has pulled them
    assert 100 + 1000 <= startup(NO_VOLUME) < 1100 + 10  # the server pulls its model itself
    assert startup(FORWARDED) >= 60  # nothing to load
    assert deployment(NO_VOLUME)["spec"]["progressDeadlineSeconds"] >= startup(NO_VOLUME)


def test_a_stop_may_take_as_long_as_answers_may_still_run() -> None:
    [_, pause] = server(CUDA)["lifecycle"]["preStop"]["exec"]["command"]
    assert pod(CUDA)["terminationGracePeriodSeconds"] >= int(pause) + CUDA.limits.drain_timeout + 10


def test_probes_ask_what_each_is_about() -> None:
    container = server(SHIPPED)
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_gpus_are_asked_for_tolerated_and_preferred_in_order() -> None:
    assert server(CUDA)["resources"] == {
        "requests": {"cpu": "3.5", "memory": "6144Mi"},
        "limits": {"nvidia.com/gpu": "2"},
    }
    assert pod(CUDA)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    preferred = pod(CUDA)["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    wanted = sorted(preferred, key=lambda one: -one["weight"])
    products = [one["preference"]["matchExpressions"][0]["values"][0] for one in wanted]
    assert products == ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S"]
    assert "tolerations" not in pod(SHIPPED)
    assert server(SHIPPED)["resources"] == {}


def test_regions_are_where_replicas_may_run() -> None:
    required = pod(CUDA)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [expression] = required["nodeSelectorTerms"][0]["matchExpressions"]
    assert expression == {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["eu-west", "us-east"]}
    assert "affinity" not in pod(SHIPPED)


@pytest.mark.parametrize("gpu", ["H100:none", "H100:0", "H100:-1"])
def test_a_gpu_count_that_is_none_is_refused(gpu: str) -> None:
    with pytest.raises(SpecError, match=r"gpu: 'H100:.*has no number"):
        deployment(App(gpu=(gpu,)))


def test_keys_come_from_secrets_by_name() -> None:
    assert secrets(server(CUDA)) == {
        "IXMODAL_API_KEYS": {"name": "fast-keys", "key": "IXMODAL_API_KEYS"},
        "OPS_KEYS": {"name": "fast-env", "key": "OPS_KEYS"},
    }
    assert secrets(server(FORWARDED)) == {"FAR_KEY": {"name": "far-key", "key": "FAR_KEY"}}
    assert secrets(server(SHIPPED)) == {}


def test_only_who_downloads_has_the_hubs_token_and_nobody_must() -> None:
    token = {"key": "HF_TOKEN", "optional": True}
    assert secrets(server(NO_VOLUME)) == {"HF_TOKEN": {"name": "light-hub", **token}}
    assert secrets(pull_job(CUDA)["spec"]["template"]["spec"]["containers"][0]) == {
        "HF_TOKEN": {"name": "fast-hub", **token}
    }


def test_servers_wait_for_the_weights_and_only_the_job_writes_them() -> None:
    def mount(container: dict[str, Any]) -> dict[str, Any]:
        [found] = [mount for mount in container["volumeMounts"] if mount["name"] == "weights"]
        return found

    [waiting] = pod(CUDA)["initContainers"]
    assert waiting["command"][:2] == ["sh", "-c"]
    assert "ixmodal pull" in waiting["command"][2]
    pulling = pull_job(CUDA)["spec"]["template"]["spec"]["containers"][0]
    assert pulling["args"] == ["pull"]
    assert [mount(c)["readOnly"] for c in (waiting, server(CUDA), pulling)] == [True, True, False]
    assert {mount(c)["mountPath"] for c in (waiting, server(CUDA), pulling)} == {"/mnt/weights"}
    for container in (waiting, server(CUDA), pulling):
        assert {"name": "IXMODAL_WEIGHTS_DIR", "value": "/mnt/weights"} in container["env"]
    for spec in (SHIPPED, NO_VOLUME, PLACED_BY_HAND):
        assert "initContainers" not in pod(spec)


def test_the_volume_can_be_where_its_readers_are() -> None:
    assert claim(CUDA)["spec"]["accessModes"] == ["ReadWriteMany"]
    assert deployment(CUDA)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert claim(ONE_REPLICA)["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert deployment(ONE_REPLICA)["spec"]["strategy"] == {"type": "Recreate"}
    assert claim(CUDA)["metadata"]["name"] == "fast-weights"
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "fast-weights"}} in pod(CUDA)["volumes"]


def test_the_job_may_take_as_long_as_all_its_downloads() -> None:
    assert pull_job(CUDA)["spec"]["activeDeadlineSeconds"] == 2 * 1000
