"""The composition root: a spec becomes engines that a server can ask. Modal's class, uvicorn and the CLI all use it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ixmodal.backends.cpu import default_threads
from ixmodal.engine.client import EngineClient
from ixmodal.engine.messages import Load
from ixmodal.errors import EngineNotReadyError, InvalidRequestError, IxmodalError, ModelNotFoundError
from ixmodal.models.inspect import inspect
from ixmodal.spec import App, Model
from ixmodal.weights import fetch, locate, verify, weights_directory

logger = logging.getLogger("ixmodal")
_ALL_LAYERS = 1000
Progress = Callable[[int, int | None], None]
OpenEngine = Callable[[Model, App, Progress], Awaitable[EngineClient]]
"""How a declared model becomes an engine that is about to load: (model, spec, download progress) -> client."""


async def open_engine(model: Model, spec: App, progress: Progress) -> EngineClient:
    """Find or fetch a model's weights and put an engine process before them. Raises `WeightsError`."""
    directory = weights_directory(spec)
    path = await asyncio.to_thread(fetch, model, directory, progress, timeout=spec.limits.download_timeout)
    return EngineClient(_load_message(model, path, spec), spec.limits, spec.endpoint.max_queued)


class ServedModel:
    """One model of the spec: first its weights, then its engine."""

    def __init__(self, model: Model, spec: App) -> None:
        self.model = model
        self.created = int(time.time())
        self.client: EngineClient | None = None
        self.error: IxmodalError | None = None
        self._spec = spec
        self._pulled: tuple[int, int | None] = (0, None)

    @property
    def state(self) -> str:
        """`pulling`, or the engine's state."""
        if self.error:
            return "failed"
        return str(self.client.state) if self.client else "pulling"

    @property
    def engine(self) -> EngineClient:
        """The engine to ask. Raises `EngineNotReadyError` while the weights are not there."""
        if self.error:
            raise EngineNotReadyError(f"The model {self.model.id} failed to load: {self.error.message}")
        if self.client is None:
            done, total = self._pulled
            share = f"{100 * done // total}%" if total else f"{done} bytes"
            raise EngineNotReadyError(f"The model {self.model.id} is being downloaded ({share}). Please retry later.")
        return self.client

    async def start(self, open_engine: OpenEngine, on_failed: Callable[[IxmodalError], None]) -> None:
        """Fetch the weights if need be and load them. Raises what makes either impossible."""
        self.client = await open_engine(self.model, self._spec, self._note)
        self.client.supervisor.on_failed = on_failed
        self.client.supervisor.start()
        await self.client.supervisor.wait_ready()

    def _note(self, done: int, total: int | None) -> None:
        self._pulled = (done, total)


class Runtime:
    """All models of a spec. Lives on one event loop, from `start` to `stop`."""

    def __init__(self, spec: App, open_engine: OpenEngine = open_engine) -> None:
        """Compose the parts; nothing runs yet."""
        self.spec = spec
        self._open_engine = open_engine
        self.models = {model.id: ServedModel(model, spec) for model in spec.models}
        self._aliases = {alias: model.id for model in spec.models for alias in model.aliases}
        self.started = time.monotonic()
        self.draining = False
        self.on_failed: Callable[[IxmodalError], None] = lambda error: logger.error("%s", error.message)
        self._loading: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Judge what can be judged before anything starts.

        Raises:
            WeightsError: weights that are declared to be here are missing, damaged, changed or not supported.
        """
        directory = weights_directory(self.spec)
        for model in self.spec.models:
            path = locate(model, directory)
            if path is not None:
                inspect(path)
                verify(model, path)

    @property
    def is_ready(self) -> bool:
        """True while every model answers and the server is not stopping."""
        return not self.draining and all(served.state == "ready" for served in self.models.values())

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        clients = [served.client for served in self.models.values() if served.client]
        return sum(client.admission.busy + client.admission.queued for client in clients)

    def find(self, model_id: str | None) -> ServedModel:
        """The model that a request names by id or alias. Raises `RequestError` for an unknown one, or for none."""
        model_id = model_id or self.spec.default_model
        if model_id is None:
            raise InvalidRequestError(
                "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
            )
        model_id = self._aliases.get(model_id, model_id)
        if model_id not in self.models:
            known = ", ".join(self.models)
            raise ModelNotFoundError(
                f"The model `{model_id:.128}` does not exist. This server has: {known}.", param="model"
            )
        return self.models[model_id]

    async def start(self) -> None:
        """Begin to load the models in their order, in the background. Calling it again does nothing."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load_all(), name="load models")

    async def wait_ready(self) -> None:
        """Wait until all models are loaded. Raises the error of the first that can't be."""
        await self.start()
        assert self._loading is not None
        await asyncio.shield(self._loading)
        for served in self.models.values():
            if served.error:
                raise served.error

    async def stop(self) -> None:
        """Let running requests finish within `limits.drain_timeout`, then end the engines. Idempotent."""
        self.draining = True
        deadline = time.monotonic() + self.spec.limits.drain_timeout
        while self.in_flight and time.monotonic() < deadline:  # noqa: ASYNC110  # once in a lifetime
            await asyncio.sleep(0.05)
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        clients = [served.client for served in self.models.values() if served.client]
        await asyncio.gather(*(client.supervisor.stop() for client in clients))

    async def _load_all(self) -> None:
        for served in self.models.values():
            began = time.monotonic()
            try:
                await served.start(self._open_engine, self.on_failed)
            except IxmodalError as error:
                served.error = error
                if served.client is None:
                    self.on_failed(error)
                return
            logger.info("model %s is ready after %.2f s", served.model.id, time.monotonic() - began)


def _load_message(model: Model, path: Path, spec: App) -> Load:
    return Load(
        backend="ctransformers",
        path=str(path),
        slots=model.slots,
        batch_size=model.batch_size,
        threads=model.threads or default_threads(path.stat().st_size),
        context_length=model.context_length,
        gpu_layers=_ALL_LAYERS if model.gpu_layers == "all" else model.gpu_layers,
        mmap=model.mmap,
        mlock=model.mlock,
        chat_template=model.chat_template,
        template_timeout=spec.limits.template_timeout,
        warm_up=model.warm_up,
    )
