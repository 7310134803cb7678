"""All models of a spec together: who is loaded when, who makes room for whom, and how all of it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from ixmodal.engine import child
from ixmodal.errors import InsufficientMemoryError, InvalidRequestError, IxmodalError, ModelNotFoundError
from ixmodal.models.engines import judge
from ixmodal.runtime.engines import FindLoad, begin_reading, find_load
from ixmodal.runtime.events import NewsDesk
from ixmodal.runtime.memory import MIB, MemoryGauge
from ixmodal.runtime.served_model import ServedModel
from ixmodal.spec import App
from ixmodal.weights import locate, verify, weights_directory

logger = logging.getLogger("ixmodal")


class Runtime:
    """All models of a spec. Lives on one event loop, from `start` to `stop`."""

    def __init__(self, spec: App, find_load: FindLoad = find_load) -> None:
        """Compose the parts; nothing runs yet."""
        self.spec = spec
        self.desk = NewsDesk()
        budget = spec.limits.model_memory_mib
        self._gauge = MemoryGauge(budget * MIB if budget else None)
        self._one_load = asyncio.Lock()
        self.models = {
            model.id: ServedModel(model, spec, find_load, self._room_for, self.desk) for model in spec.models
        }
        for served in self.models.values():
            served.on_failed = partial(self._give_up, served)
        self._aliases = {alias: model.id for model in spec.models for alias in model.aliases}
        self.started = time.monotonic()
        self._drain_deadline: float | None = None
        self.on_failed: Callable[[IxmodalError], None] = lambda error: logger.error("%s", error.message)
        self._loading: asyncio.Task[None] | None = None
        self._reaping: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Judge what can be judged before anything starts; what will be loaded at once is read from now on.

        Raises:
            WeightsError: weights that are declared to be here are missing, damaged, changed or not supported.
        """
        directory = weights_directory(self.spec)
        for model in self.spec.local_models:
            path = locate(model, directory)
            if path is not None:
                if model.load == "start":
                    begin_reading(model, path)
                judge(path, model.engine)
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
            if not any(served.is_expected for served in self.models.values()):
                child.dismiss()
            self._loading = asyncio.create_task(self._load_all(), name="load models")
            self._reaping = asyncio.create_task(self._unload_idle(), name="unload idle models")

    async def wait_ready(self) -> None:
        """Wait until all models are loaded that are at start. Raises the first error that no upstream makes up for."""
        await self.start()
        assert self._loading is not None
        await asyncio.shield(self._loading)
        for served in self.models.values():
            if served.error and not served.is_served:
                raise served.error

    async def stop(self) -> None:
        """Let running requests finish within `limits.drain_timeout`, then end the engines. Idempotent."""
        self.begin_drain()
        while self.in_flight and self.drain_time_left > 0:  # noqa: ASYNC110  # once in a lifetime
            await asyncio.sleep(0.05)
        tasks = [task for task in (self._loading, self._reaping) if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        child.dismiss()
        await asyncio.gather(*(served.stop() for served in self.models.values()))

    async def _load_all(self) -> None:
        for served in self.models.values():
            if not served.is_expected:
                continue
            try:
                await served.load()
            except IxmodalError:  # told by `on_failed`
                if not served.is_served:
                    return

    def _give_up(self, served: ServedModel, error: IxmodalError) -> None:
        """A model can't be loaded or kept alive: that ends the server, unless it can do without."""
        if not served.is_served:
            self.on_failed(error)
        elif served.model.overflow_to:
            logger.critical("%s; %s takes its requests", error.message, served.model.overflow_to)
        else:
            logger.error("model %s: %s", served.model.id, error.message)

    @asynccontextmanager
    async def _room_for(self, wanted: ServedModel) -> AsyncIterator[None]:
        """One load at a time, and only into memory that is free: idle models make room, the longest idle first."""
        async with self._one_load:
            lacking = await self._lack(wanted)
            idle = [served for served in self.models.values() if served is not wanted and served.is_evictable]
            gain = sum(served.need.host + served.need.gpu for served in idle if served.need)
            for served in sorted(idle, key=lambda model: -model.idle_seconds):
                if lacking is None or lacking.missing_mib > gain // MIB:
                    break
                if served.is_evictable:
                    logger.info("model %s makes room for %s", served.model.id, wanted.model.id)
                    await served.unload()
                    lacking = await self._lack(wanted)
            if lacking:
                raise lacking.of(wanted.model.id)
            yield

    async def _lack(self, wanted: ServedModel) -> InsufficientMemoryError | None:
        others = [served for served in self.models.values() if served.is_resident and served is not wanted]
        held = sum(served.need.host for served in others if served.need)
        return await asyncio.to_thread(self._gauge.lacking, wanted.need, held) if wanted.need else None

    async def _unload_idle(self) -> None:
        """Unload what nobody asked for as long as its `idle_timeout` says."""
        limits = {
            id: served.model.idle_timeout for id, served in self.models.items() if served.model.idle_timeout is not None
        }
        while limits:
            await asyncio.sleep(max(0.05, min(limits.values()) / 4))
            for id, limit in limits.items():
                served = self.models[id]
                if served.is_evictable and served.idle_seconds > limit:
                    logger.info("model %s was idle for %.0f s and is unloaded", id, served.idle_seconds)
                    await served.unload()
