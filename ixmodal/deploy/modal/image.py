"""The container image, in the order in which its layers change: system, native library, requirements, package."""

from __future__ import annotations

import modal

from ixmodal.deploy.requirements import (
    CUDA_DEVEL,
    build_command,
    native_requirements,
    python_requirements,
    state_requirements,
)
from ixmodal.spec import App

_NOT_SENT = ["**/__pycache__", "**/*.pyc"]
_BROUGHT = frozenset({"modal"})  # Modal brings its own client into every container


def make_image(spec: App) -> modal.Image:
    """The image of every function of a spec. The package and the tools' modules are added as files, last."""
    built = _base(spec)
    if spec.image.system_packages:
        built = built.apt_install(*spec.image.system_packages)
    if spec.image.build == "source":
        built = built.run_commands(build_command(spec))
    else:
        built = built.uv_pip_install(*native_requirements(spec))
    built = built.uv_pip_install(*python_requirements(_BROUGHT))
    if packages := [*state_requirements(spec), *spec.image.packages]:
        built = built.uv_pip_install(*packages)
    if spec.image.env:
        built = built.env(dict(spec.image.env))
    modules = {path.partition(":")[0].partition(".")[0] for agent in spec.agents for path in agent.tools}
    return built.add_local_python_source("ixmodal", *sorted(modules), ignore=_NOT_SENT)


def _base(spec: App) -> modal.Image:
    base = spec.image.base or (CUDA_DEVEL if spec.image.build == "source" else None)
    if base:
        return modal.Image.from_registry(base, add_python=spec.image.python).entrypoint([])
    return modal.Image.debian_slim(python_version=spec.image.python)
