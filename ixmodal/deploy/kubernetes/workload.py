"""The server's Deployment and the ConfigMap that it reads its spec from."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from ixmodal.deploy.kubernetes.objects import SERVER, container, from_secret, manifest, mounts, pod, selector
from ixmodal.deploy.target import (
    PLACING,
    PORT,
    SPEC_FILE,
    UNROUTING,
    downloads,
    gpu_count,
    grace_seconds,
    optional_secrets,
    secrets,
    spec_text,
    startup_seconds,
)
from ixmodal.spec import App

_GPU = "nvidia.com/gpu"
_GPU_PRODUCT = "nvidia.com/gpu.product"
_PRODUCTS = {
    "A10G": ("NVIDIA-A10G",),
    "A100": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"),
    "A100-40GB": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"),
    "A100-80GB": ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
    "H100": ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"),
    "T4": ("Tesla-T4",),
}
"""What NVIDIA's feature discovery calls a GPU on its node, where that is not `NVIDIA-` and the name."""
_PROBE_EVERY = 5


def config_map(spec: App) -> dict[str, Any]:
    """The spec, as the server reads it."""
    return manifest(spec, "v1", "ConfigMap", f"{spec.name}-spec", data={SPEC_FILE: spec_text(spec)})


def deployment(spec: App) -> dict[str, Any]:
    """The server. How many replicas run is the autoscaler's to say."""
    template = pod(
        spec,
        SERVER,
        terminationGracePeriodSeconds=grace_seconds(spec),
        **_placement(spec),
        **({"initContainers": [_wait_for_weights(spec)]} if spec.weights and downloads(spec) else {}),
        containers=[_server(spec)],
    )
    template["metadata"]["annotations"] = {
        "ixmodal/spec": hashlib.sha256(spec_text(spec).encode()).hexdigest(),  # another spec: new pods
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    details = {
        "strategy": _strategy(spec),
        # A start may take this long before the roll-out counts as failed.
        "progressDeadlineSeconds": startup_seconds(spec) + PLACING,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(spec)},
        "template": template,
    }
    return manifest(spec, "apps/v1", "Deployment", spec.name, spec=details)


def _strategy(spec: App) -> dict[str, Any]:
    if spec.weights and spec.scaling.max_replicas == 1:
        return {"type": "Recreate"}  # a volume of one node: a second replica elsewhere would never start
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def _server(spec: App) -> dict[str, Any]:
    keys = [from_secret(secret) for secret in secrets(spec)]
    keys += [from_secret(secret, optional=True) for secret in optional_secrets(spec)]
    ready = {"path": "/readyz", "port": "http"}
    return container(
        spec,
        "server",
        ports=[{"name": "http", "containerPort": PORT}],
        env=keys,
        volumeMounts=mounts(spec, read_only=True),
        resources=_resources(spec),
        startupProbe={
            "httpGet": ready,
            "periodSeconds": _PROBE_EVERY,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(startup_seconds(spec) / _PROBE_EVERY) + 1,
        },
        readinessProbe={"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        # The process answers, whatever its engine does: a dead engine is the supervisor's to restart.
        livenessProbe={
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        lifecycle={"preStop": {"exec": {"command": ["sleep", str(UNROUTING)]}}},
    )


def _wait_for_weights(spec: App) -> dict[str, Any]:
    # It sees the volume read-only: it ends once the pull Job has put every file there, and holds up the server until.
    waiting = "until ixmodal pull; do sleep 5; done"
    small = {"requests": {"cpu": "100m", "memory": "256Mi"}}
    return container(
        spec, "weights", command=["sh", "-c", waiting], volumeMounts=mounts(spec, read_only=True), resources=small
    )


def _resources(spec: App) -> dict[str, Any]:
    requests = {}
    if spec.cpu:
        requests["cpu"] = f"{spec.cpu:g}"
    if spec.memory_mib:
        requests["memory"] = f"{spec.memory_mib}Mi"
    gpus = gpu_count(spec)
    limits = {_GPU: str(gpus)} if gpus else {}
    return {
        **({"requests": requests} if requests else {}),
        **({"limits": limits} if limits else {}),
    }


def _placement(spec: App) -> dict[str, Any]:
    affinity: dict[str, Any] = {}
    if spec.region:
        rule = {"key": "topology.kubernetes.io/region", "operator": "In", "values": list(spec.region)}
        required = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    wanted = [name.partition(":")[0].rstrip("!+") for name in spec.gpu]  # Modal writes H100! for that card alone
    if preferred := [_preference(100 - 10 * n, name) for n, name in enumerate(wanted[:10]) if name != "any"]:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    placed: dict[str, Any] = {"affinity": {"nodeAffinity": affinity}} if affinity else {}
    if spec.gpu:
        placed["tolerations"] = [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return placed


def _preference(weight: int, gpu: str) -> dict[str, Any]:
    rule = {"key": _GPU_PRODUCT, "operator": "In", "values": list(_PRODUCTS.get(gpu, (f"NVIDIA-{gpu}",)))}
    return {"weight": weight, "preference": {"matchExpressions": [rule]}}
