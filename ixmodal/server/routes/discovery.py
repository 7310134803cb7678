"""`GET /discovery`: what this machine is and has, for who places models on machines."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import socket
from typing import Any

import psutil
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from ixmodal import __version__
from ixmodal.runtime import Runtime
from ixmodal.runtime.memory import MIB, free_host_memory, gpus, usable_cores
from ixmodal.server.auth import require_admin
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import Described, Operation
from ixmodal.server.routes.common import runtime_of

_LIBRARIES = ("ctransformers", "llama-cpp-python", "llguidance", "starlette", "uvicorn", "modal")


class GpuFacts(TypedDict):
    """One GPU; MiB."""

    name: str
    total_mib: int
    free_mib: int


class MemoryFacts(TypedDict):
    """MiB: of the machine, and what can be had now within the container's limit."""

    total_mib: int
    free_mib: int


class CpuFacts(TypedDict):
    """Cores of the machine, and those that this process may use."""

    cores: int
    usable_cores: int
    architecture: str


class ModelNeed(TypedDict):
    """What a model needs, MiB; null before it was looked at."""

    model: str
    state: str
    required_mib: int | None
    required_vram_mib: int | None


class Discovery(TypedDict):
    """The machine, its devices, the software on it and its models' needs."""

    hostname: str
    system: str
    python: str
    version: str
    libraries: dict[str, str]
    cpu: CpuFacts
    memory: MemoryFacts
    gpus: list[GpuFacts]
    models: list[ModelNeed]


async def discovery(request: Request) -> Response:
    """What this machine is and has. Tells no paths, no addresses, no keys."""
    require_admin(request)
    return JSONResponse(await asyncio.to_thread(_look, runtime_of(request)))


def _look(runtime: Runtime) -> dict[str, Any]:
    devices = [{"name": gpu.name, "total_mib": gpu.total // MIB, "free_mib": gpu.free // MIB} for gpu in gpus()]
    return {
        "hostname": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "version": __version__,
        "libraries": dict(_installed()),
        "cpu": {
            "cores": psutil.cpu_count() or 1,
            "usable_cores": usable_cores(),
            "architecture": platform.machine(),
        },
        "memory": {"total_mib": psutil.virtual_memory().total // MIB, "free_mib": free_host_memory() // MIB},
        "gpus": devices,
        "models": [_need(runtime, id) for id, served in runtime.models.items() if not served.upstream],
    }


def _need(runtime: Runtime, id: str) -> dict[str, Any]:
    served = runtime.models[id]
    need = served.need
    return {
        "model": id,
        "state": served.state,
        "required_mib": -(-need.host // MIB) if need else None,
        "required_vram_mib": -(-need.gpu // MIB) if need else None,
    }


def _installed() -> list[tuple[str, str]]:
    found = []
    for name in _LIBRARIES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


ROUTES = [
    Described(
        "/discovery",
        discovery,
        Operation("discover", "GET", "What this machine is and has, for admins.", Discovery, errors=(403,)),
    )
]
