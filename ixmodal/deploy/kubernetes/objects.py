"""What all manifests have in common: names, labels, and a pod that Kubernetes' `restricted` standard admits."""

from __future__ import annotations

import re
from typing import Any

from ixmodal import __version__
from ixmodal.deploy.container import image_name
from ixmodal.deploy.target import HOME, SPEC_DIRECTORY, TEMPORARY, USER, Secret, environment, secrets
from ixmodal.errors import SpecError
from ixmodal.spec import App

SERVER = "server"
PULL = "pull"
_LONGEST_NAME = 40
"""Characters that leave room for what Kubernetes and KEDA put around a name."""
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_SECRET_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_names(spec: App) -> None:
    """Refuse names that Kubernetes has no use for. Raises `SpecError`."""
    problems = []
    if not _NAME.fullmatch(spec.name) or len(spec.name) > _LONGEST_NAME:
        problems.append(
            f'name: "{spec.name}" names no Kubernetes service; start with a letter, end with a letter or a digit, '
            f"and use {_LONGEST_NAME} characters at most"
        )
    stores = [("secrets", secret.store) for secret in secrets(spec)]
    if spec.weights:
        stores.append(("weights.name", spec.weights.name))
    problems += [
        f'{where}: "{name}" names no Kubernetes object; end it with a letter or a digit'
        for where, name in stores
        if not _SECRET_NAME.fullmatch(name)
    ]
    if problems:
        raise SpecError("the spec", problems)


def labels(spec: App) -> dict[str, str]:
    """The labels of every object."""
    return {
        "app.kubernetes.io/name": "ixmodal",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/version": __version__,
    }


def selector(spec: App, component: str = SERVER) -> dict[str, str]:
    """The labels that find the pods of a component; they never change with a version."""
    return {
        "app.kubernetes.io/name": "ixmodal",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/component": component,
    }


def manifest(spec: App, api: str, kind: str, name: str, /, **fields: Any) -> dict[str, Any]:
    """An object with our labels; the rest as given."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels(spec)}, **fields}


def container(spec: App, name: str, /, **fields: Any) -> dict[str, Any]:
    """A container of our image that may write only where a volume lies."""
    variables: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in environment(spec).items()]
    return {
        "name": name,
        "image": image_name(spec),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **fields,
        "env": [*variables, *fields.get("env", [])],
    }


def from_secret(secret: Secret, *, optional: bool = False) -> dict[str, Any]:
    """A variable whose value a Secret holds under the variable's name."""
    reference = {"name": secret.store, "key": secret.variable, **({"optional": True} if optional else {})}
    return {"name": secret.variable, "valueFrom": {"secretKeyRef": reference}}


def mounts(spec: App, *, read_only: bool) -> list[dict[str, Any]]:
    """Where a container sees the volumes of `pod`; `read_only` is about the weights."""
    found: list[dict[str, Any]] = [
        {"name": "spec", "mountPath": SPEC_DIRECTORY, "readOnly": True},
        {"name": "state", "mountPath": HOME},
        {"name": "tmp", "mountPath": TEMPORARY},
    ]
    if spec.weights:
        found.append({"name": "weights", "mountPath": spec.weights.mount, "readOnly": read_only})
    return found


def pod(spec: App, component: str, /, **fields: Any) -> dict[str, Any]:
    """A pod template's metadata and spec."""
    volumes: list[dict[str, Any]] = [
        {"name": "spec", "configMap": {"name": f"{spec.name}-spec"}},
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if spec.weights:
        volumes.append({"name": "weights", "persistentVolumeClaim": {"claimName": spec.weights.name}})
    return {
        "metadata": {"labels": {**labels(spec), **selector(spec, component)}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
            **fields,
            "volumes": volumes,
        },
    }
