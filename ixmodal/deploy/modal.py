"""A spec on Modal: `build(spec)` is the `modal.App` that `modal deploy app.py` sends.

A container imports this module alone: the spec travels to it as JSON in `IXMODAL_SPEC`, the package as files.
`Engine` is one replica, `pull` fills the weights volume ahead of the first one (`modal run app.py`).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import math
import os
import re
import time
import tomllib
from pathlib import Path, PurePosixPath

import modal
from starlette.types import ASGIApp

import ixmodal
from ixmodal.errors import IxmodalError, SpecError
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.spec import App, Model
from ixmodal.spec.keys import ENVIRONMENT_PREFIX
from ixmodal.spec.sources import KEYS_VARIABLE, SPEC_VARIABLE, load_spec
from ixmodal.weights import Progress, fetch, weights_directory

logger = logging.getLogger("ixmodal")

LONGEST_TIMEOUT = 86_400
"""Seconds that Modal lets an input or a start take at most: one day."""
LAST_WORDS = 1.0
"""Seconds for the refusals of a container that ends to reach their clients."""
REPORT_EVERY = 5.0
"""Seconds between two lines about a download."""
LOG_FORMAT = "%(levelname)s:     %(message)s"
_NOT_SENT = ["**/__pycache__", "**/*.pyc"]
_NOT_INSTALLED = {"modal"}  # Modal brings its own client into every container


class Engine:
    """One replica: ready once every model is loaded, done once every running answer has ended.

    Modal runs `start`, the server's lifespan, each request and `stop` on one event loop, so the runtime lives on it.
    It asks for requests only after `start` has returned. To stop, it lets running requests end, shuts the lifespan
    down, which drains the runtime, and calls `stop`, which then has nothing left to do.
    """

    @modal.enter()
    async def start(self) -> None:
        """Make sure that the weights are there, load them and wait until every model answers."""
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        spec = load_spec()
        if spec.weights:
            await asyncio.to_thread(_download, spec)
        self.is_ready = False
        self.runtime = Runtime(spec)
        self.runtime.on_failed = self.give_up
        try:
            await self.runtime.wait_ready()
        except BaseException:
            await self.runtime.stop()  # Modal calls no exit hook after a failed start
            raise
        self.is_ready = True

    def give_up(self, error: IxmodalError) -> None:
        """End the container, non-zero, once an engine can't be kept alive: Modal then starts another."""
        logger.critical("%s", error.message)
        if self.is_ready:  # before that, `start` tells Modal what is wrong
            asyncio.get_running_loop().call_later(LAST_WORDS, os._exit, 1)

    def asgi(self) -> ASGIApp:
        """Build the server in front of the loaded models."""
        return create_app(self.runtime)

    serve = modal.asgi_app()(asgi)

    @modal.exit()
    async def stop(self) -> None:
        """End the runtime if the server never got to."""
        await self.runtime.stop()


def pull() -> None:
    """Download every model of the spec onto the weights volume."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    _download(load_spec())


def build(spec: App) -> modal.App:
    """Turn the declaration into Modal's own objects: image, volume, secrets, scaling and the endpoint.

    Raises:
        SpecError: API keys that can't reach the containers as declared.
    """
    app = modal.App(spec.name, image=_image(spec), include_source=False)
    secrets = _secrets(spec)
    volumes = _volumes(spec)
    environment = _environment(spec)
    replica = app.cls(
        env=environment,
        secrets=secrets,
        volumes=volumes,
        gpu=list(spec.gpu) or None,
        cpu=spec.cpu,
        memory=spec.memory_mib,
        region=list(spec.region) or None,
        min_containers=spec.scaling.min_replicas,
        max_containers=spec.scaling.max_replicas,
        buffer_containers=spec.scaling.buffer_replicas,
        scaledown_window=spec.scaling.scaledown_window,
        timeout=_seconds(spec.limits.queue_timeout + spec.limits.request_timeout),
        startup_timeout=_seconds(_download_timeout(spec) + spec.limits.load_timeout * len(spec.local_models)),
    )
    load = modal.concurrent(max_inputs=spec.max_concurrency, target_inputs=spec.target_concurrency)
    replica(load(_labelled(spec.endpoint.label)))
    if volumes:
        app.function(env=environment, volumes=volumes, timeout=_seconds(_download_timeout(spec)))(pull)
    return app


def _labelled(label: str | None) -> type[Engine]:
    # The label is known only here; containers look "Engine" up in this module and find the class above.
    return type("Engine", (Engine,), {"__module__": __name__, "serve": modal.asgi_app(label=label)(Engine.asgi)})


def _image(spec: App) -> modal.Image:
    image = spec.image
    if image.base:
        built = modal.Image.from_registry(image.base, add_python=image.python)
    else:
        built = modal.Image.debian_slim(python_version=image.python)
    if image.system_packages:
        built = built.apt_install(*image.system_packages)
    built = built.uv_pip_install(*_requirements(image.accelerator == "cuda"), *image.packages)
    if image.env:
        built = built.env(dict(image.env))
    modules = {path.partition(":")[0].partition(".")[0] for agent in spec.agents for path in agent.tools}
    return built.add_local_python_source("ixmodal", *sorted(modules), ignore=_NOT_SENT)


def _requirements(cuda: bool) -> list[str]:
    """Pin the package's runtime requirements to the versions installed here."""
    pinned = []
    for requirement in _declared_requirements():
        match = re.match(r"([A-Za-z0-9._-]+)(\[[^]]*])?", requirement)
        if match is None or "extra ==" in requirement or match[1] in _NOT_INSTALLED:
            continue
        extras = "[cuda]" if cuda and match[1] == "ctransformers" else match[2] or ""
        try:
            pinned.append(f"{match[1]}{extras}=={importlib.metadata.version(match[1])}")
        except importlib.metadata.PackageNotFoundError:  # not needed on this platform
            pinned.append(requirement)
    return pinned


def _declared_requirements() -> list[str]:
    try:
        return importlib.metadata.requires("ixmodal") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        project = Path(ixmodal.__file__).parents[1] / "pyproject.toml"
        return list(tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"])


def _volumes(spec: App) -> dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]:
    if spec.weights is None:
        return {}
    return {spec.weights.mount: modal.Volume.from_name(spec.weights.name, create_if_missing=True)}


def _environment(spec: App) -> dict[str, str | None]:
    environment: dict[str, str | None] = {SPEC_VARIABLE: spec.model_dump_json(exclude_unset=True)}
    if spec.weights:
        caches = {"HF_HOME": f"{spec.weights.mount}/.huggingface"}
        if spec.image.accelerator == "cuda":  # kernels compiled at first load; only the first replica pays
            caches["CUDA_CACHE_PATH"] = f"{spec.weights.mount}/.cuda"
        environment.update({name: path for name, path in caches.items() if name not in spec.image.env})
    return environment


def _secrets(spec: App) -> list[modal.Secret]:
    """What holds the API keys that the spec only names; those that it knows by their digests travel with it."""
    secrets = [
        modal.Secret.from_name(name, required_keys=[KEYS_VARIABLE]) for name in dict.fromkeys(spec.endpoint.secrets)
    ]
    sources = spec.endpoint.key_sources
    variables = [s.removeprefix(ENVIRONMENT_PREFIX) for s in sources if s.startswith(ENVIRONMENT_PREFIX)]
    values: dict[str, str | None] = {name: _local(name) for name in variables}
    if len(secrets) + (KEYS_VARIABLE in values) > 1:
        raise SpecError(
            "the spec", [f"endpoint.api_keys: several entries would set {KEYS_VARIABLE}; put all keys into one secret"]
        )
    return [*secrets, modal.Secret.from_dict(values)] if values else secrets


def _local(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise SpecError(
        "the spec",
        [f"endpoint.api_keys: {name} is not set here, so env:{name} can't be sent; set it, or write secret:NAME"],
    )


def _download_timeout(spec: App) -> float:
    return spec.limits.download_timeout * sum(not m.source.startswith("package://") for m in spec.local_models)


def _seconds(timeout: float) -> int:
    return min(math.ceil(timeout), LONGEST_TIMEOUT)


def _download(spec: App) -> None:
    """Bring every file onto the volume; what was new is committed once, so that other replicas find it."""
    directory = weights_directory(spec)
    before = _listing(directory)
    for model in spec.local_models:
        fetch(model, directory, _reporter(model), timeout=spec.limits.download_timeout)
    if spec.weights and _listing(directory) != before:
        modal.Volume.from_name(spec.weights.name).commit()


def _reporter(model: Model) -> Progress:
    told = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told >= REPORT_EVERY:
            told = time.monotonic()
            logger.info("model %s: %d of %s MB", model.id, done // 1_000_000, total // 1_000_000 if total else "?")

    return report


def _listing(directory: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_size) for path in directory.rglob("*") if path.is_file()}
