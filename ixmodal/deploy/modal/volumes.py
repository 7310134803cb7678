"""The volumes of a spec and the variables that lead to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import modal

from ixmodal.spec import App
from ixmodal.spec.sources import WEIGHTS_VARIABLE

CACHE_MOUNT = "/var/cache/ixmodal"
"""Where replicas keep compiled kernels if they may not write to the weights volume."""
_LONGEST_NAME = 63
Mounted = dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]


@dataclass(frozen=True)
class Storage:
    """What one function mounts, and what it is told about it."""

    volumes: Mounted = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def replica_storage(spec: App) -> Storage:
    """What a replica mounts: the weights, read-only once they are pulled ahead, and room for compiled kernels."""
    if spec.weights is None:
        return Storage()
    volume, mount = _weights(spec.weights.name), spec.weights.mount
    environment = {WEIGHTS_VARIABLE: mount}
    if spec.modal.pull == "on_start":
        cache = f"{mount}/.cuda"
        volumes: Mounted = {mount: volume}
        environment["HF_HOME"] = f"{mount}/.huggingface"
    else:
        cache = CACHE_MOUNT
        volumes = {mount: volume.with_mount_options(read_only=True)}
    if spec.image.accelerator == "cuda":  # kernels compiled at first load; only the first replica pays
        environment["CUDA_CACHE_PATH"] = cache
        if cache == CACHE_MOUNT:
            volumes[CACHE_MOUNT] = _weights(f"{spec.weights.name[: _LONGEST_NAME - 6]}-cache")
    return Storage(volumes, _undeclared(spec, environment))


def pull_storage(spec: App) -> Storage | None:
    """What the pull mounts, for writing; None if there is no volume to fill."""
    if spec.weights is None:
        return None
    mount = spec.weights.mount
    environment = {WEIGHTS_VARIABLE: mount, "HF_HOME": f"{mount}/.huggingface"}
    return Storage({mount: _weights(spec.weights.name)}, _undeclared(spec, environment))


def _weights(name: str) -> modal.Volume:
    return modal.Volume.from_name(name, create_if_missing=True)


def _undeclared(spec: App, environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in spec.image.env}
