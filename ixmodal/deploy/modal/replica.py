"""One replica, served in either of Modal's two ways.

Modal runs every hook, the ASGI lifespan and the requests on one event loop, so the runtime lives on it. A replica asks
for requests, or is sent them, only after its last enter hook has returned.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from typing import TYPE_CHECKING

import modal

from ixmodal.deploy.modal.cold_start import ColdStart
from ixmodal.deploy.modal.pulling import LOG_FORMAT, fill_volume
from ixmodal.errors import IxmodalError, WeightsError
from ixmodal.runtime import Runtime
from ixmodal.spec import App
from ixmodal.spec.sources import load_spec
from ixmodal.weights import locate, weights_directory

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger("ixmodal")
LAST_WORDS = 1.0
"""Seconds for the refusals of a container that ends to reach their clients."""


class Replica:
    """Ready once every model is loaded, done once every running answer has ended.

    Its life has two halves, between which a memory snapshot may be taken. `prepare` does what all replicas have in
    common and what holds no connection: the imports, the spec, the weights and their headers. `load` starts the
    engines, which are processes with sockets and, on a GPU, with memory that a snapshot of the CPU's does not hold;
    so they are in the snapshot only where one of the GPU is asked for.
    """

    runtime: Runtime
    cold_start: ColdStart
    is_ready = False

    async def prepare(self) -> None:
        """Make sure that the weights are there and fit; with a GPU snapshot, load them."""
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        self.cold_start = ColdStart()
        self.cold_start.end("imports")
        spec = load_spec()
        self.runtime = Runtime(spec)
        self.runtime.on_failed = self.give_up
        if spec.weights:
            await asyncio.to_thread(fill_volume if spec.modal.pull == "on_start" else require_weights, spec)
        if spec.modal.snapshot != "off":
            await asyncio.to_thread(self.runtime.check)  # else the engines do it, as they load
            await asyncio.to_thread(_import_server)
        self.cold_start.end("weights")
        if spec.modal.snapshot == "gpu":
            await self.load()

    async def load(self) -> None:
        """Wait until every model answers."""
        try:
            await self.runtime.wait_ready()
        except BaseException:
            await self.runtime.stop()  # Modal calls no exit hook after a failed start
            raise

    async def wake(self) -> None:
        """Load the models, or find them loaded; here a replica begins that is made from a snapshot."""
        if self.runtime.spec.modal.snapshot != "off":
            self.cold_start.restart()
        importing = asyncio.create_task(asyncio.to_thread(_import_server))  # while the engines load
        try:
            await self.load()
        finally:
            await importing
        self.cold_start.end("load")

    def become_ready(self) -> None:
        """Say so, and where the time went."""
        self.is_ready = True
        logger.info("%s", self.cold_start)

    def give_up(self, error: IxmodalError) -> None:
        """End the container, non-zero, once an engine can't be kept alive: Modal then starts another."""
        logger.critical("%s", error.message)
        if self.is_ready:  # before that, `start` tells Modal what is wrong
            asyncio.get_running_loop().call_later(LAST_WORDS, os._exit, 1)


class QueuedReplica(Replica):
    """A replica behind Modal's queue: requests come as inputs, answers leave as calls.

    To stop, Modal lets running requests end, shuts the lifespan down, which drains the runtime, and calls `stop`, which
    then has nothing left to do.
    """

    @modal.enter()
    async def start(self) -> None:
        """Make the models answer."""
        await self.wake()
        self.become_ready()

    def asgi(self) -> ASGIApp:
        """Build the server in front of the loaded models."""
        from ixmodal.deploy.modal.state import shared_store
        from ixmodal.server.app import create_app

        return create_app(self.runtime, shared_store(self.runtime.spec))

    serve = modal.asgi_app()(asgi)

    @modal.exit()
    async def stop(self) -> None:
        """End the runtime if the server never got to."""
        await self.runtime.stop()


class ListeningReplica(Replica):
    """A replica that listens itself: uvicorn on the port to which Modal sends HTTP.

    Modal says SIGTERM and calls `stop`, which takes no more connections and lets running requests end.
    """

    @modal.enter()
    async def start(self) -> None:
        """Make the models answer; then listen."""
        await self.wake()
        from ixmodal.deploy.modal.listener import Listener

        self._listener = await Listener.open(self.runtime)
        self.become_ready()

    @modal.exit()
    async def stop(self) -> None:
        """Take no more connections, let running requests end within `limits.drain_timeout`, end the runtime."""
        await self._listener.close()
        await self.runtime.stop()


# What containers look up. Each adds the hook that a deploy may only declare where a snapshot is wanted to what it is
# declared by elsewhere: a container runs the hook in any case.


class Engine(QueuedReplica):
    """What runs as an `asgi_app`."""

    before_snapshot = modal.enter(snap=True)(Replica.prepare)


class Server(ListeningReplica):
    """What runs as an `app.server`."""

    before_snapshot = modal.enter(snap=True)(Replica.prepare)


def require_weights(spec: App) -> None:
    """Find every file where the pull has put it. Raises `WeightsError` that says what to run."""
    directory = weights_directory(spec)
    missing = [model.id for model in spec.local_models if locate(model, directory) is None]
    if missing:
        raise WeightsError(
            f"the volume does not hold the weights of {', '.join(missing)} as declared; "
            'run `modal run app.py::pull`, or write modal.pull = "on_start"'
        )


def _import_server() -> None:
    """Import what is needed once the models answer: the server, and what Modal itself wraps it in."""
    importlib.import_module("aiohttp")
    importlib.import_module("ixmodal.server.app")
