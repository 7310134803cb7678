"""A server whose engine follows a script (see `ixmodal.backends.scripted`): in-process, or under a real uvicorn."""

from __future__ import annotations

import os

from starlette.applications import Starlette

from ixmodal.engine.messages import Load
from ixmodal.runtime import Progress, Runtime
from ixmodal.server.app import create_app
from ixmodal.server.connection import BoundedConnection, bounded
from ixmodal.server.signals import handle_signals
from ixmodal.spec import App, Model
from ixmodal.spec.sources import load_spec


async def find_scripted(model: Model, _spec: App, _progress: Progress) -> Load:
    """An engine that follows its script; the model's `chat_template` and sizes are honoured."""
    return Load(
        backend="scripted",
        path=os.environ.get("TEST_ENGINE", "scripted"),
        slots=model.slots,
        batch_size=model.batch_size,
        threads=1,
        context_length=model.context_length,
        chat_template=model.chat_template,
    )


def scripted_app(spec: App) -> Starlette:
    """The application over scripted engines."""
    return create_app(Runtime(spec, find_scripted))


def build() -> Starlette:
    """For `uvicorn --factory tests.support.scripted:build`, with the spec of the environment."""
    return handle_signals(scripted_app(load_spec()))


def __getattr__(name: str) -> type[BoundedConnection]:
    """For `uvicorn --http tests.support.scripted:Connection`: the bounded connection of the environment's spec."""
    if name == "Connection":
        return bounded(load_spec().limits)
    raise AttributeError(name)
