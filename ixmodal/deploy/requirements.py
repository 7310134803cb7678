"""What an image has to install: the package's own requirements, pinned to the versions installed here."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import ixmodal
from ixmodal.spec import App

NATIVE = "ctransformers"
"""The requirement with the native code, apart from the others: it is the large one, and it changes least."""
CUDA_LIBRARIES = ("nvidia-cublas-cu12==12.9.1.4", "nvidia-cuda-runtime-cu12==12.9.79")
"""What the wheel's CUDA library loads."""
CUDA_DEVEL = "nvidia/cuda:12.9.0-devel-ubuntu22.04"
"""A base image with the compiler that a build from source needs; it knows cards up to compute capability 12.0."""
REDIS = "redis>=5.2,<8"
"""The package's extra `redis`."""
_CAPABILITIES = {
    "T4": "75",
    "A10": "86",
    "A10G": "86",
    "A100": "80",
    "A100-40GB": "80",
    "A100-80GB": "80",
    "L4": "89",
    "L40S": "89",
    "H100": "90",
    "H100!": "90",
    "H200": "90",
    "B200": "100",
    "B200+": "100",
    "RTX-PRO-6000": "120",
}
"""Compute capabilities by the names of cards; see https://developer.nvidia.com/cuda-gpus."""
_USUAL = ("75", "80", "86", "89", "90")


def native_requirements(spec: App) -> list[str]:
    """The native library, with the CUDA libraries that its wheel loads if the spec wants them."""
    library = f"{NATIVE}=={importlib.metadata.version(NATIVE)}"
    if spec.image.accelerator == "cuda" and spec.image.build == "wheel":
        return [library.replace("==", "[cuda]=="), *CUDA_LIBRARIES]
    return [library]


def build_command(spec: App) -> str:
    """The shell command that compiles the native library with CUDA, for the cards that the spec names."""
    wanted = ";".join(cuda_architectures(spec))
    (library,) = native_requirements(spec)
    return (
        f"CT_CUBLAS=1 CMAKE_ARGS='-DCMAKE_CUDA_ARCHITECTURES={wanted}' "
        f"python -m pip install --no-cache-dir --no-binary {NATIVE} '{library}'"
    )


def cuda_architectures(spec: App) -> tuple[str, ...]:
    """Compute capabilities to compile for: as declared, those of the declared cards, or those of usual ones."""
    if spec.image.cuda_architectures:
        return spec.image.cuda_architectures
    kinds = [gpu.partition(":")[0].upper() for gpu in spec.gpu]
    if not kinds or any(kind not in _CAPABILITIES for kind in kinds):
        return _USUAL
    return tuple(sorted({_CAPABILITIES[kind] for kind in kinds}, key=int))


def state_requirements(spec: App) -> list[str]:
    """What the declared place of shared state needs."""
    return [REDIS] if spec.state.redis_url else []


def python_requirements(without: frozenset[str] = frozenset()) -> list[str]:
    """All other requirements of the package, without those that a platform brings itself."""
    pinned = []
    for requirement in _declared():
        match = re.match(r"([A-Za-z0-9._-]+)(\[[^]]*])?", requirement)
        if match is None or "extra ==" in requirement or match[1] in without | {NATIVE}:
            continue
        try:
            pinned.append(f"{match[1]}{match[2] or ''}=={importlib.metadata.version(match[1])}")
        except importlib.metadata.PackageNotFoundError:  # not needed on this platform
            pinned.append(requirement)
    return pinned


def _declared() -> list[str]:
    try:
        return importlib.metadata.requires("ixmodal") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        project = Path(ixmodal.__file__).parents[1] / "pyproject.toml"
        return list(tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"])
