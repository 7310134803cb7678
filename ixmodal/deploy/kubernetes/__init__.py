"""A spec as Kubernetes manifests: a base, and two ways to scale it, of which one is chosen.

`base` runs by itself; `hpa` scales it with Kubernetes' own autoscaler, down to one replica; `keda` with KEDA, to and
from zero where the spec says so. Facts of a cluster that no spec knows (a registry, a storage class, a host name, where
Prometheus is) are patched by an overlay of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ixmodal.deploy.documents import as_yaml
from ixmodal.deploy.kubernetes.autoscaling import autoscaler, interceptor_route, prometheus_adapter, scaled_object
from ixmodal.deploy.kubernetes.network import disruption_budget, network_policy, service
from ixmodal.deploy.kubernetes.objects import check_names
from ixmodal.deploy.kubernetes.weights import claim, pull_job
from ixmodal.deploy.kubernetes.workload import config_map, deployment
from ixmodal.deploy.target import downloads
from ixmodal.spec import App

Manifest = Mapping[str, Any]


def manifests(spec: App) -> dict[str, str]:
    """All files, by their path below `kubernetes/`.

    Raises:
        SpecError: names that Kubernetes refuses, keys that stand in the spec itself.
    """
    check_names(spec)
    base = {
        "configmap": config_map(spec),
        "deployment": deployment(spec),
        "service": service(spec),
        "networkpolicy": network_policy(spec),
        "poddisruptionbudget": disruption_budget(spec),
    }
    if spec.weights:
        base["persistentvolumeclaim"] = claim(spec)
        if downloads(spec):
            base["pull-job"] = pull_job(spec)
    keda = {"scaledobject": scaled_object(spec)}
    if spec.scaling.min_replicas == 0:
        keda["interceptorroute"] = interceptor_route(spec)
    written = {
        **_folder("base", base, ()),
        **_folder("hpa", {"horizontalpodautoscaler": autoscaler(spec)}, ("../base",)),
        **_folder("keda", keda, ("../base",)),
    }
    written["hpa/prometheus-adapter-values.yaml"] = as_yaml(prometheus_adapter(spec))
    return written


def _folder(name: str, objects: Mapping[str, Manifest], bases: tuple[str, ...]) -> dict[str, str]:
    files = {f"{kind}.yaml": as_yaml(manifest) for kind, manifest in sorted(objects.items())}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [*bases, *files],
    }
    return {f"{name}/{path}": text for path, text in {**files, "kustomization.yaml": as_yaml(kustomization)}.items()}
