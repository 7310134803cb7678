"""The composition root: a spec becomes engines that a server can ask. Modal's class, uvicorn and the CLI all use it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ixmodal.backends.cpu import default_threads
from ixmodal.daemon_thread import in_daemon_thread
from ixmodal.engine.client import EngineClient
from ixmodal.engine.messages import Load
from ixmodal.errors import EngineNotReadyError, InvalidRequestError, IxmodalError, ModelNotFoundError
from ixmodal.models.inspect import inspect
from ixmodal.spec import App, Model
from ixmodal.weights import fetch, locate, verify, weights_directory

if TYPE_CHECKING:
    from ixmodal.upstreams.client import UpstreamClient

logger = logging.getLogger("ixmodal")
_ALL_LAYERS = 1000
Progress = Callable[[int, int | None], None]
OpenEngine = Callable[[Model, App, Progress], Awaitable[EngineClient]]
"""How a declared model becomes an engine that is about to load: (model, spec, download progress) -> client."""


async def open_engine(model: Model, spec: App, progress: Progress) -> EngineClient:
    """Find or fetch a model's weights and put an engine process before them. Raises `WeightsError`."""
    directory = weights_directory(spec)
    fetch_it = partial(fetch, model, directory, progress, timeout=spec.limits.download_timeout)
    path = await in_daemon_thread(fetch_it, f"fetch {model.id}")
    return EngineClient(_load_message(model, path, spec), spec.limits, spec.endpoint.max_queued)


class ServedModel:
    """One model of the spec: first its weights, then its engine; or else the client of its upstream."""

    def __init__(self, model: Model, spec: App) -> None:
        self.model = model
        self.created = int(time.time())
        self.client: EngineClient | None = None
        self.error: IxmodalError | None = None
        self.upstream = _upstream_of(model, spec)
        self._spec = spec
        self._pulled: tuple[int, int | None] = (0, None)

    @property
    def state(self) -> str:
        """`pulling`, or the engine's state. Of an upstream, `ready` or `unreachable`: how its last request went."""
        if self.upstream:
            return "ready" if self.upstream.is_reachable else "unreachable"
        if self.error:
            return "failed"
        return str(self.client.state) if self.client else "pulling"

    @property
    def is_served(self) -> bool:
        """True if requests get an answer now: from the engine, an upstream, or the one that it overflows to."""
        return self.state == "ready" or self.upstream is not None or self.model.overflow_to is not None

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        asked = self.upstream or self.client
        return asked.admission.busy + asked.admission.queued if asked else 0

    @property
    def engine_at_once(self) -> EngineClient:
        """The engine, for a request that may overflow: then `EngineNotReadyError` comes before any wait for it."""
        engine = self.engine
        if self.model.overflow_to and self.state != "ready":
            raise EngineNotReadyError(f"The model {self.model.id} is {self.state}. Please retry later.")
        return engine

    @property
    def engine(self) -> EngineClient:
        """The engine to ask. Raises `EngineNotReadyError` while the weights are not there."""
        if self.upstream:
            raise InvalidRequestError(
                f"The model {self.model.id} is on another server; this can't be asked of it.", param="model"
            )
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
        self._drain_deadline: float | None = None
        self.on_failed: Callable[[IxmodalError], None] = lambda error: logger.error("%s", error.message)
        self._loading: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Judge what can be judged before anything starts.

        Raises:
            WeightsError: weights that are declared to be here are missing, damaged, changed or not supported.
        """
        directory = weights_directory(self.spec)
        for model in self.spec.local_models:
            path = locate(model, directory)
            if path is not None:
                inspect(path)
                verify(model, path)

    @property
    def draining(self) -> bool:
        """True once the server is about to end: it takes no new requests."""
        return self._drain_deadline is not None

    @property
    def drain_time_left(self) -> float:
        """Seconds that running requests have before they are cut short."""
        return (
            self.spec.limits.drain_timeout if self._drain_deadline is None else self._drain_deadline - time.monotonic()
        )

    def begin_drain(self) -> None:
        """Be ready no more; from the first call on, running requests have `limits.drain_timeout` seconds."""
        if self._drain_deadline is None:
            self._drain_deadline = time.monotonic() + self.spec.limits.drain_timeout

    @property
    def is_ready(self) -> bool:
        """True while every model is answered for and the server is not stopping; upstreams are not asked for this."""
        return not self.draining and all(served.is_served for served in self.models.values())

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        return sum(served.in_flight for served in self.models.values())

    def find(self, model_id: str | None) -> ServedModel:
        """The model that a request names by id or alias.

        Raises:
            RequestError: it names none, an unknown one, or an agent, which is no model.
        """
        model_id = model_id or self.spec.default_model
        if model_id is None:
            raise InvalidRequestError(
                "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
            )
        model_id = self._aliases.get(model_id, model_id)
        agent = next((agent for agent in self.spec.agents if agent.id == model_id), None)
        if agent is not None:
            raise InvalidRequestError(
                f"`{agent.id}` is an agent: it answers /v1/chat/completions and /v1/responses only. "
                f"Ask its model, `{agent.model}`, here.",
                param="model",
                code="agent_not_supported",
            )
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
        """Wait until all models are loaded. Raises the error of the first that can't be and that none stands in for."""
        await self.start()
        assert self._loading is not None
        await asyncio.shield(self._loading)
        for served in self.models.values():
            if served.error and served.model.overflow_to is None:
                raise served.error

    async def stop(self) -> None:
        """Let running requests finish within `limits.drain_timeout`, then end the engines. Idempotent."""
        self.begin_drain()
        while self.in_flight and self.drain_time_left > 0:  # noqa: ASYNC110  # once in a lifetime
            await asyncio.sleep(0.05)
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        clients = [served.client for served in self.models.values() if served.client]
        await asyncio.gather(*(client.supervisor.stop() for client in clients))
        for served in self.models.values():
            if served.upstream:
                await served.upstream.close()

    async def _load_all(self) -> None:
        for served in self.models.values():
            if served.upstream:
                continue
            began = time.monotonic()
            try:
                await served.start(self._open_engine, partial(self._give_up, served))
            except IxmodalError as error:
                if served.client is None:
                    self._give_up(served, error)
                served.error = error
                if served.model.overflow_to is None:
                    return
                continue
            logger.info("model %s is ready after %.2f s", served.model.id, time.monotonic() - began)

    def _give_up(self, served: ServedModel, error: IxmodalError) -> None:
        """A model can't be kept alive: that ends the server, unless another answers for it."""
        if served.model.overflow_to is None:
            self.on_failed(error)
        else:
            served.error = error
            logger.critical("%s; %s takes its requests", error.message, served.model.overflow_to)


def _upstream_of(model: Model, spec: App) -> UpstreamClient | None:
    if model.upstream is None:
        return None
    # Imported here: a start without upstreams needs no HTTP client.
    from ixmodal.upstreams.client import UpstreamClient

    return UpstreamClient(model, spec.limits, spec.endpoint.max_queued)


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
