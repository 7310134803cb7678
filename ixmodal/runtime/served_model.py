"""One model of the spec, from cold to ready and back: its weights, its engine, or the upstream that has it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from ixmodal.engine.client import EngineClient
from ixmodal.engine.supervisor import EngineState
from ixmodal.errors import (
    EngineNotReadyError,
    InsufficientMemoryError,
    InvalidRequestError,
    IxmodalError,
    ServerStoppingError,
)
from ixmodal.models.memory import Need
from ixmodal.runtime.engines import FindLoad
from ixmodal.runtime.events import ModelNews, NewsDesk, Progress
from ixmodal.runtime.memory import need_for
from ixmodal.spec import App, Model

if TYPE_CHECKING:
    from ixmodal.upstreams.client import UpstreamClient

logger = logging.getLogger("ixmodal")
_TELL_EVERY = 0.25


class ModelState(StrEnum):
    """Where a model stands. The engine's own states take over once it has a process."""

    COLD = "cold"
    PULLING = "pulling"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


RoomFor = Callable[["ServedModel"], AbstractAsyncContextManager[None]]
"""Holds the one place in which a model is loaded, once its `need` fits. Raises `InsufficientMemoryError`."""


class ServedModel:
    """A model by its id, whether it is in memory or not. All calls belong to one event loop."""

    def __init__(self, model: Model, spec: App, find_load: FindLoad, room_for: RoomFor, desk: NewsDesk) -> None:
        self.model = model
        self.created = int(time.time())
        self.upstream = _upstream_of(model, spec)
        self.client: EngineClient | None = None
        if self.upstream is None:
            self.client = EngineClient(model.slots, spec.limits, spec.endpoint.max_queued, self._wake)
        self.error: IxmodalError | None = None
        self.need: Need | None = None
        self.loaded_at: float | None = None
        """When it became ready, seconds since 1970."""
        self.on_failed: Callable[[IxmodalError], None] = lambda error: logger.error("%s", error.message)
        self._spec = spec
        self._find_load, self._room_for, self._desk = find_load, room_for, desk
        self._progress: Progress | None = None
        self._told = 0.0
        self._failed_at = 0.0
        self._dismissed = False
        self._stopped = False
        self._loading: asyncio.Task[None] | None = None
        self._pulling = asyncio.Event()

    @property
    def state(self) -> ModelState:
        """Where it stands. Of an upstream, `ready` or `unreachable`: how its last request went."""
        if self.upstream:
            return ModelState.READY if self.upstream.is_reachable else ModelState.UNREACHABLE
        if self.error:
            return ModelState.FAILED
        if self._loading and self._progress:
            return ModelState.PULLING
        if self.client and self.client.is_open:
            return ModelState(self.client.state)
        return ModelState.LOADING if self._loading else ModelState.COLD

    @property
    def is_expected(self) -> bool:
        """True if the server isn't ready without it: it is declared to be loaded at start, and nobody unloaded it."""
        return self.upstream is None and self.model.load == "start" and not self._dismissed

    @property
    def is_served(self) -> bool:
        """True if requests get an answer now, if need be after a load, from an upstream or by overflow."""
        return self.state == "ready" or not self.is_expected or self.model.overflow_to is not None

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        asked = self.upstream or self.client
        return asked.admission.busy + asked.admission.queued if asked else 0

    @property
    def is_resident(self) -> bool:
        """True while it takes memory."""
        return self.client is not None and self.client.is_open

    @property
    def is_evictable(self) -> bool:
        """True if it may make room: loaded on request, not pinned, and nobody waits for it."""
        is_idle = self.state is ModelState.READY and not self.in_flight and self._loading is None
        return self.model.load == "request" and not self.model.pinned and self.is_resident and is_idle

    @property
    def idle_seconds(self) -> float:
        """Since its last request ended, or since it was loaded."""
        return time.monotonic() - self.client.last_used if self.client and not self.in_flight else 0.0

    @property
    def engine(self) -> EngineClient:
        """The engine to ask; one that is cold is loaded for the request.

        Raises:
            EngineNotReadyError: the weights are being downloaded, or it failed lately, or it was unloaded.
            InvalidRequestError: it is on another server.
        """
        if self.upstream or self.client is None:
            raise InvalidRequestError(
                f"The model {self.model.id} is on another server; this can't be asked of it.", param="model"
            )
        if self.error and not self._has_cooled_down:
            if isinstance(self.error, InsufficientMemoryError):
                raise self.error
            raise EngineNotReadyError(f"The model {self.model.id} failed to load: {self.error.message}")
        if self.state is ModelState.PULLING:
            raise self._being_pulled()
        return self.client

    @property
    def engine_at_once(self) -> EngineClient:
        """The engine, for a request that may overflow: then `EngineNotReadyError` comes before any wait for it."""
        engine = self.engine
        if self.model.overflow_to and self.state != "ready":
            if not self._dismissed:
                self.begin_load()
            raise EngineNotReadyError(f"The model {self.model.id} is {self.state}. Please retry later.")
        return engine

    def news(self) -> ModelNews:
        """What there is to tell of it now."""
        progress = self._progress if self.state is ModelState.PULLING else None
        return ModelNews(self.model.id, self.state, self.error.message if self.error else None, progress)

    async def load(self) -> None:
        """Load it, or wait for the load in progress. Raises what makes it impossible."""
        await asyncio.shield(self.begin_load())

    def begin_load(self) -> asyncio.Task[None]:
        """Begin to load it in the background, unless it is loaded or about to be."""
        self._dismissed = False
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name=f"load {self.model.id}")
            self._loading.add_done_callback(self._loaded)
        return self._loading

    async def unload(self) -> None:
        """Free its memory. Requests that come later load it again only if it is declared `load = "request"`."""
        self._dismissed = self.model.load == "start"
        if self._loading:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        self.error = None
        if self.client:
            await self.client.close()
        self.loaded_at = None
        self._tell()

    async def stop(self) -> None:
        """End everything for good: a request that still waits wakes no engine."""
        self._stopped = True
        await self.unload()
        if self.upstream:
            await self.upstream.close()

    async def _load(self) -> None:
        assert self.client
        if self.client.supervisor and self.client.state is EngineState.READY:
            return
        self.error = None
        self._tell()
        began = time.monotonic()
        loop = asyncio.get_running_loop()

        def note(done: int, total: int | None) -> None:
            with suppress(RuntimeError):  # the download's thread may outlive the loop
                loop.call_soon_threadsafe(self._note, Progress(done, total))

        load = await self._find_load(self.model, self._spec, note)
        self._progress = None
        self._pulling.clear()
        self.need = await asyncio.to_thread(need_for, load)
        async with self._room_for(self):
            supervisor = self.client.open(load)
            supervisor.on_failed = self._fail
            supervisor.on_change = self._tell
            supervisor.start()
            await supervisor.wait_ready()
        self.loaded_at = time.time()
        logger.info("model %s is ready after %.2f s", self.model.id, time.monotonic() - began)

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loading, self._progress = None, None
        self._pulling.clear()
        error = None if task.cancelled() else task.exception()
        if error is not None and self.error is None:  # else the supervisor has told it
            self._fail(error if isinstance(error, IxmodalError) else IxmodalError(f"unexpected: {error!r}"))

    def _fail(self, error: IxmodalError) -> None:
        self.error, self._failed_at = error, time.monotonic()
        self._tell()
        self.on_failed(error)

    async def _wake(self) -> None:
        """For a request that finds no engine: load one, unless somebody wanted it gone."""
        if self._stopped:
            raise ServerStoppingError
        if self._dismissed:
            raise EngineNotReadyError(f"The model {self.model.id} was unloaded; an admin can load it again.")
        task = self.begin_load()
        pulling = asyncio.create_task(self._pulling.wait())
        try:
            await asyncio.wait([task, pulling], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._being_pulled()
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                if self._stopped:
                    raise ServerStoppingError from None
                raise EngineNotReadyError(f"The model {self.model.id} was unloaded. Please retry later.") from None
            raise
        except EngineNotReadyError:
            raise
        except IxmodalError as error:
            raise EngineNotReadyError(f"The model {self.model.id} failed to load: {error.message}") from None
        finally:
            pulling.cancel()

    @property
    def _has_cooled_down(self) -> bool:
        return time.monotonic() - self._failed_at > self._spec.limits.load_cooldown and not self._dismissed

    def _being_pulled(self) -> EngineNotReadyError:
        progress = self._progress or Progress(0, None)
        share = f"{progress.done} bytes" if progress.percent is None else f"{progress.percent}%"
        return EngineNotReadyError(f"The model {self.model.id} is being downloaded ({share}). Please retry later.")

    def _note(self, progress: Progress) -> None:
        if self._loading is None:
            return
        self._progress = progress
        self._pulling.set()
        if time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            self._tell()

    def _tell(self) -> None:
        self._desk.tell(self.news())


def _upstream_of(model: Model, spec: App) -> UpstreamClient | None:
    if model.upstream is None:
        return None
    # Imported here: a start without upstreams needs no HTTP client.
    from ixmodal.upstreams.client import UpstreamClient

    return UpstreamClient(model, spec.limits, spec.endpoint.max_queued)
