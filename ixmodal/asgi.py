"""`uvicorn ixmodal.asgi:app`: the spec of `IXMODAL_SPEC`, or else the model that ships.

With `--http ixmodal.asgi:Connection`, slow and endless headers are bounded as `ixmodal serve` bounds them.

A spec or weights that can't be served end the start with one line and exit code 1.
"""

from __future__ import annotations

import logging
import os
import signal

from starlette.applications import Starlette

from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.server.connection import bounded
from ixmodal.spec.sources import load_spec


def _build() -> Starlette:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s")
    try:
        runtime = Runtime(load_spec())
        runtime.check()
        runtime.on_failed = _end_process
        return create_app(runtime)
    except IxmodalError as error:
        raise SystemExit(f"ixmodal: {error.message}") from None


def _end_process(error: IxmodalError) -> None:
    """An engine that can't be kept alive ends the process, non-zero, so that a platform replaces it."""
    logging.getLogger("ixmodal").critical("%s", error.message)
    os.kill(os.getpid(), signal.SIGTERM)


app = _build()
Connection = bounded(app.state.runtime.spec.limits)
