"""One replica, served in either of Modal's two ways.

Modal runs every hook, the ASGI lifespan and the requests on one event loop, so the runtime lives on it. A replica asks
for requests, or is sent them, only after its last enter hook has returned.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager

import modal
import uvicorn
from starlette.types import ASGIApp

from ixmodal.deploy.modal.pulling import LOG_FORMAT, fill_volume
from ixmodal.errors import IxmodalError, WeightsError
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.server.connection import bounded
from ixmodal.spec import App
from ixmodal.spec.sources import load_spec
from ixmodal.weights import locate, weights_directory

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
    is_ready = False

    async def prepare(self) -> None:
        """Make sure that the weights are there and fit; with a GPU snapshot, load them."""
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
        spec = load_spec()
        self.runtime = Runtime(spec)
        self.runtime.on_failed = self.give_up
        if spec.weights:
            await asyncio.to_thread(fill_volume if spec.modal.pull == "on_start" else require_weights, spec)
        if spec.modal.snapshot != "off":
            await asyncio.to_thread(self.runtime.check)  # else the engines do it, as they load
        if spec.modal.snapshot == "gpu":
            await self.load()

    async def load(self) -> None:
        """Wait until every model answers."""
        try:
            await self.runtime.wait_ready()
        except BaseException:
            await self.runtime.stop()  # Modal calls no exit hook after a failed start
            raise

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
        """Load the models, or find them loaded."""
        await self.load()
        self.is_ready = True

    def asgi(self) -> ASGIApp:
        """Build the server in front of the loaded models."""
        return create_app(self.runtime)

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
        """Load the models, or find them loaded; then listen."""
        await self.load()
        spec = self.runtime.spec
        # Bound here: uvicorn ends the process, without a word to Modal, if it can't bind.
        listener = socket.create_server(("0.0.0.0", spec.modal.port), backlog=2048)  # noqa: S104  # Modal's own network
        self._server = _Uvicorn(_config(create_app(self.runtime), spec))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110  # uvicorn tells by this alone
            await asyncio.sleep(0.005)
        if self._serving.done():
            self._serving.result()
            raise IxmodalError("the HTTP server ended before it had begun; its log lines say why")
        self.is_ready = True

    @modal.exit()
    async def stop(self) -> None:
        """Take no more connections, let running requests end within `limits.drain_timeout`, end the runtime."""
        self._server.should_exit = True
        await self._serving
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


def _config(app: ASGIApp, spec: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(spec.limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(spec.limits.drain_timeout)),
    )


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to Modal, which turns SIGTERM into a call of `stop`."""
        yield
