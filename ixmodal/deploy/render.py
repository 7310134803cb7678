"""All that a spec becomes outside Modal: the files of `infra/`, written, or held against those that are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ixmodal.deploy.compose import compose
from ixmodal.deploy.container import dockerfile, dockerignore
from ixmodal.deploy.dashboard import dashboard
from ixmodal.deploy.documents import RENDERED, as_json, as_yaml
from ixmodal.deploy.kubernetes import manifests
from ixmodal.deploy.monitoring import dashboard_providers, datasources, prometheus, rules
from ixmodal.deploy.target import SPEC_FILE, check_places, spec_text
from ixmodal.errors import IxmodalError
from ixmodal.spec import App

Files = Mapping[str, str]
"""Texts by path below the directory that is rendered into."""


class RenderError(IxmodalError):
    """The files can't be written or read."""


def render(spec: App, out: Path, context: Path) -> dict[str, str]:
    """Make every file of a deployment in containers.

    Args:
        spec: the deployment.
        out: the directory that the files belong into.
        context: the directory that the image is built from, a checkout of ixmodal.

    Raises:
        SpecError: something in the spec that containers can't have, with its field.
    """
    check_places(spec)
    seen = Path(os.path.relpath(out, context)).as_posix()
    files = {
        "Dockerfile": dockerfile(spec, context, f"{seen}/Dockerfile"),
        "Dockerfile.dockerignore": dockerignore(spec, context),
        "compose.yaml": as_yaml(compose(spec, Path(os.path.relpath(context, out)).as_posix(), f"{seen}/Dockerfile")),
        SPEC_FILE: spec_text(spec),
        "prometheus/prometheus.yml": as_yaml(prometheus(spec)),
        "prometheus/rules.yml": as_yaml(rules(spec)),
        "grafana/provisioning/datasources/prometheus.yaml": as_yaml(datasources()),
        "grafana/provisioning/dashboards/ixmodal.yaml": as_yaml(dashboard_providers()),
        "grafana/dashboards/ixmodal.json": as_json(dashboard()),
    }
    return {**files, **{f"kubernetes/{path}": text for path, text in manifests(spec).items()}}


def differences(files: Files, out: Path) -> list[str]:
    """What is not as rendered, a line a file: missing, changed, or left by an earlier spec.

    Raises:
        RenderError: a file that can't be read.
    """
    try:
        found = [f"{path}: missing" for path in files if not (out / path).is_file()]
        found += [f"{path}: changed" for path in files if (out / path).is_file() and not _is(out / path, files[path])]
        return sorted(found + [f"{path}: left by another spec" for path in _left(files, out)])
    except OSError as error:
        raise RenderError(f"{error.filename} can't be read: {error.strerror}") from None


def write(files: Files, out: Path) -> list[str]:
    """Write what differs and remove what an earlier spec left. Returns a line for each such file.

    Raises:
        RenderError: a file that can't be written.
    """
    changes = differences(files, out)
    try:
        for path in (change.rpartition(": ")[0] for change in changes):
            if path in files:
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_text(files[path], "utf-8")
            else:
                (out / path).unlink()
    except OSError as error:
        raise RenderError(f"{error.filename} can't be written: {error.strerror}") from None
    return [change.replace(": missing", ": new") for change in changes]


def _is(path: Path, text: str) -> bool:
    return path.read_bytes() == text.encode()


def _left(files: Files, out: Path) -> list[str]:
    """Manifests that say themselves that they were rendered, and that this spec has no use for."""
    if not out.is_dir():
        return []
    there = {path.relative_to(out).as_posix(): path for path in (out / "kubernetes").rglob("*.yaml")}
    return [name for name, path in there.items() if name not in files and path.read_text("utf-8").startswith(RENDERED)]
