"""`ixmodal serve`."""

from __future__ import annotations

import ipaddress
import json
import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ixmodal import __version__
from ixmodal.cli.terminal import Spec, console, errors, failure
from ixmodal.engine import child
from ixmodal.errors import IxmodalError

if TYPE_CHECKING:
    import uvicorn

    from ixmodal.runtime import Runtime
    from ixmodal.server.keyring import KeyRing
    from ixmodal.spec import App, Model


def serve(
    spec: Spec = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    access_log: Annotated[bool, typer.Option(help="Print a line for each request.")] = True,
) -> None:
    """Serve a spec, or the model that ships, until interrupted."""
    with child.beside():
        server, runtime = _compose(spec, host, port, access_log=access_log)
    failures: list[IxmodalError] = []

    def give_up(error: IxmodalError) -> None:
        failures.append(error)
        if not runtime.draining:  # else it ends already; a second signal would cut that short
            signal.raise_signal(signal.SIGTERM)

    runtime.on_failed = give_up
    server.run()
    if failures:
        raise failure(failures[0])
    console.print("Stopped.")


def _compose(spec: str | None, host: str, port: int, *, access_log: bool) -> tuple[uvicorn.Server, Runtime]:
    # Imported here, once the engine's process is on its way: the two start at the same time.
    from rich.logging import RichHandler

    from ixmodal.runtime import Runtime
    from ixmodal.server.telemetry.logs import configure_logging
    from ixmodal.spec.sources import load_spec

    text = RichHandler(console=errors, show_path=False) if errors.is_terminal else logging.StreamHandler()
    text.setFormatter(logging.Formatter("%(message)s"))
    try:
        configure_logging(text, access=access_log)
        runtime = Runtime(load_spec(spec))
        runtime.check()
        # The larger part of the imports, while weights are read.
        import uvicorn

        from ixmodal.server.app import create_app
        from ixmodal.server.connection import bounded, raise_descriptor_limit
        from ixmodal.server.signals import handle_signals

        raise_descriptor_limit()
        app = handle_signals(create_app(runtime))
    except IxmodalError as error:
        raise failure(error) from None
    _introduce(runtime.spec, app.state.keys, host, port)
    connection = bounded(runtime.spec.limits)
    config = uvicorn.Config(
        app, host, port, http=connection, ws="none", lifespan="on", log_config=None, access_log=False
    )
    return uvicorn.Server(config), runtime


def _introduce(spec: App, keys: KeyRing, host: str, port: int) -> None:
    """Say what is served, where, with whose keys, and one command to try it."""
    from rich.panel import Panel
    from rich.table import Table

    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    table = Table.grid(padding=(0, 2))
    for model in spec.models:
        table.add_row("model", f"[bold]{model.id}[/bold]  {_origin(model)}")
    table.add_row("base URL", f"[bold]{base}/v1[/bold]")
    table.add_row("keys", "none: whoever reaches it may use it" if keys.is_open else f"of {', '.join(keys.names)}")
    if keys.is_open and not _is_loopback(host):
        table.add_row("", "[yellow]it listens beyond this machine; set endpoint.api_keys to protect it[/yellow]")
    console.print(Panel(table, title=f"ixmodal {__version__}", title_align="left", expand=False))
    bearer = " -H 'Authorization: Bearer YOUR_KEY'" if not keys.is_open else ""
    question = [{"role": "user", "content": "What is the capital of France?"}]
    body = json.dumps({"model": spec.models[0].id, "messages": question})
    console.print(f"curl {base}/v1/chat/completions{bearer} -d '{body}'", soft_wrap=True, markup=False, highlight=False)


def _origin(model: Model) -> str:
    from ixmodal.weights.places import shown

    if model.upstream:
        return f"asked of {model.upstream.url}"
    overflow = f", overflows to {model.overflow_to}" if model.overflow_to else ""
    return f"from {shown(model)}, {model.slots} slots{overflow}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
