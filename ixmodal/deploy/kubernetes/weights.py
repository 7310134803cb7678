"""The volume of weights, and the Job that fills it."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from ixmodal.deploy.container import image_name
from ixmodal.deploy.kubernetes.objects import PULL, container, from_secret, manifest, mounts, pod
from ixmodal.deploy.target import HUB_TOKEN, Secret, downloads, spec_text
from ixmodal.spec import App

_GIB_A_MODEL = 16
"""Room for a file and a second version of it; a spec does not say how large it is. Overlays may ask for more."""


def claim(spec: App) -> dict[str, Any]:
    """The claim of the volume that a spec's `weights` names."""
    assert spec.weights is not None
    # Replicas on several nodes and the Job read it at once; a single replica does with the volume of one node.
    mode = "ReadWriteMany" if spec.scaling.max_replicas > 1 else "ReadWriteOnce"
    size = _GIB_A_MODEL * max(1, len(spec.local_models))
    details = {"accessModes": [mode], "resources": {"requests": {"storage": f"{size}Gi"}}}
    return manifest(spec, "v1", "PersistentVolumeClaim", spec.weights.name, spec=details)


def pull_job(spec: App) -> dict[str, Any]:
    """The Job that downloads and verifies what the volume lacks.

    A Job can't be changed: another spec is another Job.
    """
    version = hashlib.sha256(f"{image_name(spec)}\n{spec_text(spec)}".encode()).hexdigest()[:8]
    limit = math.ceil(spec.limits.download_timeout * downloads(spec))
    pulling = container(
        spec,
        "pull",
        args=["pull"],
        env=[from_secret(Secret(HUB_TOKEN, f"{spec.name}-hub"), optional=True)],
        volumeMounts=mounts(spec, read_only=False),
        resources={"requests": {"cpu": "500m", "memory": "512Mi"}},
    )
    details = {
        "backoffLimit": 6,
        "activeDeadlineSeconds": limit,
        "ttlSecondsAfterFinished": 3600,
        "template": pod(spec, PULL, restartPolicy="OnFailure", containers=[pulling]),
    }
    return manifest(spec, "batch/v1", "Job", f"{spec.name}-pull-{version}", spec=details)
