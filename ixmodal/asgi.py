"""`uvicorn ixmodal.asgi:app`: the spec of `IXMODAL_SPEC`, or else the model that ships.

With `--http ixmodal.asgi:Connection`, slow and endless headers are bounded as `ixmodal serve` bounds them.

A spec or weights that can't be served end the start with one line and exit code 1. So does an engine that can't load
them, or that can't be kept alive: then running requests are drained before. At SIGTERM the server drains as
`ixmodal serve` does (see `ixmodal.server.signals`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ixmodal.engine import child
from ixmodal.errors import IxmodalError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ixmodal.runtime import Runtime
    from ixmodal.server.connection import BoundedConnection


def _build() -> tuple[Starlette, type[BoundedConnection]]:
    # Imported here, once the engine's process is on its way: the two start at the same time.
    from ixmodal.runtime import Runtime
    from ixmodal.server.telemetry.logs import configure_logging, take_over_uvicorns
    from ixmodal.spec.sources import load_spec

    text = logging.StreamHandler()
    text.setFormatter(logging.Formatter("%(levelname)s:     %(message)s"))
    try:
        configure_logging(text, access=take_over_uvicorns())
        runtime = Runtime(load_spec())
        runtime.check()
        # The larger part of the imports, while weights are read.
        from ixmodal.server.app import create_app
        from ixmodal.server.connection import bounded, raise_descriptor_limit
        from ixmodal.server.signals import handle_signals

        raise_descriptor_limit()
        app = handle_signals(create_app(runtime))
    except IxmodalError as error:
        raise SystemExit(f"ixmodal: {error.message}") from None
    _exit_if_failed(app, runtime)
    return app, bounded(runtime.spec.limits)


def _exit_if_failed(app: Starlette, runtime: Runtime) -> None:
    """Have an engine that can't be loaded or kept alive end the process with exit code 1: a platform replaces it."""
    failures: list[IxmodalError] = []
    inner: Any = app.router.lifespan_context

    def give_up(error: IxmodalError) -> None:
        logging.getLogger("ixmodal").critical("%s", error.message)
        failures.append(error)
        if not runtime.draining:  # else it ends already; a second signal would cut that short
            signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Any]:
        async with inner(app) as state:
            yield state
        if failures:
            # All is drained and stopped. uvicorn itself would end with code 0.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    runtime.on_failed = give_up
    app.router.lifespan_context = lifespan


with child.beside():
    app, Connection = _build()
