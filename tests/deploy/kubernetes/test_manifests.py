"""Every manifest of every spec is valid by Kubernetes' own schemas, and the objects find each other."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from ixmodal import App, Endpoint, SpecError, Volume
from ixmodal.deploy.kubernetes import manifests
from tests.deploy.specs import ALL, CUDA, ONE_REPLICA, SHIPPED

OLDEST, NEWEST = "1.28", "1.37"
_OTHERS = ("kustomize.config.k8s.io/", "keda.sh/", "http.keda.sh/")


def documents(spec: App) -> dict[str, dict[str, Any]]:
    return {path: yaml.safe_load(text) for path, text in manifests(spec).items()}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_kubernetes_own_schemas_accept_all_objects(spec: App, version: str) -> None:
    core = [d for d in documents(spec).values() if "kind" in d and not d["apiVersion"].startswith(_OTHERS)]
    assert {document["kind"] for document in core} >= {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }
    for document in core:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_file_is_in_one_kustomization_and_each_of_these_builds_on_the_base(spec: App) -> None:
    found = documents(spec)
    listed = {folder: found[f"{folder}/kustomization.yaml"]["resources"] for folder in ("base", "hpa", "keda")}
    assert listed["hpa"][0] == listed["keda"][0] == "../base"
    files = {f"{folder}/{name}" for folder, names in listed.items() for name in names if not name.startswith("..")}
    values = {"hpa/prometheus-adapter-values.yaml"}  # for the adapter's chart, not for kubectl
    assert files == found.keys() - {f"{folder}/kustomization.yaml" for folder in listed} - values


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_selectors_find_the_servers_pods_and_not_the_job(spec: App) -> None:
    found = documents(spec)
    pods = found["base/deployment.yaml"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        found["base/deployment.yaml"]["spec"]["selector"]["matchLabels"],
        found["base/service.yaml"]["spec"]["selector"],
        found["base/networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"],
        found["base/poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= pods
        if job := found.get("base/pull-job.yaml"):
            assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    ports = {
        port["name"] for port in found["base/deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert {port["targetPort"] for port in found["base/service.yaml"]["spec"]["ports"]} <= ports
    [rule] = found["base/networkpolicy.yaml"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} <= ports


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_pods_meet_the_restricted_standard_and_mount_what_they_name(spec: App) -> None:
    found = documents(spec)
    workloads = [found[path] for path in ("base/deployment.yaml", "base/pull-job.yaml") if path in found]
    for pod in (workload["spec"]["template"]["spec"] for workload in workloads):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert {"/tmp", "/var/lib/ixmodal"} <= {
                mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
            }
            names = [variable["name"] for variable in container["env"]]
            assert len(set(names)) == len(names)


def test_no_manifest_holds_the_value_of_a_secret() -> None:
    for text in manifests(CUDA).values():
        assert "kind: Secret" not in text
    for text in manifests(App(endpoint=Endpoint(api_keys="sk-secret"))).values():
        assert "sk-secret" not in text


def test_a_volume_is_there_where_the_spec_names_one() -> None:
    for spec, has_volume, has_job in ((SHIPPED, False, False), (ONE_REPLICA, True, True), (CUDA, True, True)):
        found = documents(spec)
        assert ("base/persistentvolumeclaim.yaml" in found) is has_volume
        assert ("base/pull-job.yaml" in found) is has_job


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (App(name="7b"), "name"),
        (App(name="ends-"), "name"),
        (App(name="a" * 41), "name"),
        (App(weights=Volume("ends-")), "weights.name"),
        (App(endpoint=Endpoint(api_keys="secret:Upper_case")), "secrets"),
    ],
)
def test_names_that_kubernetes_refuses_are_refused_here(spec: App, field: str) -> None:
    with pytest.raises(SpecError, match=f"  {field}: "):
        manifests(spec)
