"""The command line: `ixmodal serve` and `ixmodal pull`."""

from __future__ import annotations

import ipaddress
import json
import logging
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.logging import RichHandler
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ixmodal import __version__
from ixmodal.errors import IxmodalError
from ixmodal.runtime import Runtime
from ixmodal.server.app import create_app
from ixmodal.server.auth import resolve_keys
from ixmodal.spec import App
from ixmodal.spec_sources import load_spec
from ixmodal.weights import fetch, weights_directory
from ixmodal.weights.places import shown

main = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
errors = Console(stderr=True)
Spec = Annotated[str | None, typer.Argument(help="A .toml or .json file, or module:attribute; unset: IXMODAL_SPEC.")]


@main.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Serve open language models from GGML weights, here or on cloud GPUs, from one declaration."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit


@main.command()
def serve(
    spec: Spec = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    access_log: Annotated[bool, typer.Option(help="Print a line for each request.")] = True,
) -> None:
    """Serve a spec, or the model that ships, until interrupted."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
    try:
        runtime = Runtime(load_spec(spec))
        runtime.check()
        app = create_app(runtime)
    except IxmodalError as error:
        raise _failure(error) from None
    _introduce(runtime.spec, host, port)
    grace = max(1, round(runtime.spec.limits.drain_timeout))
    server = uvicorn.Server(
        uvicorn.Config(app, host, port, log_config=None, access_log=access_log, timeout_graceful_shutdown=grace)
    )
    failures: list[IxmodalError] = []

    def give_up(error: IxmodalError) -> None:
        failures.append(error)
        server.should_exit = True

    runtime.on_failed = give_up
    try:
        server.run()
    except KeyboardInterrupt:
        console.print("Stopped.")
    if failures:
        raise _failure(failures[0])


@main.command()
def pull(spec: Spec = None) -> None:
    """Download and verify the weights of a spec's models."""
    try:
        declared = load_spec(spec)
        for model in declared.models:
            with _progress() as bar:
                task = bar.add_task(model.id, total=None)
                path = fetch(
                    model,
                    weights_directory(declared),
                    # mypy infers no types for a lambda with a default, which binds this turn of the loop.
                    lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
                    timeout=declared.limits.download_timeout,
                )
            console.print(f"[green]✓[/green] {model.id}: {path}", soft_wrap=True, highlight=False)
    except IxmodalError as error:
        raise _failure(error) from None


def _failure(error: IxmodalError) -> typer.Exit:
    errors.print(f"[bold red]error:[/bold red] {error.message}", soft_wrap=True, highlight=False)
    return typer.Exit(1)


def _progress() -> Progress:
    name = TextColumn("{task.description}")
    figures = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(name, BarColumn(), *figures, console=console, transient=True)


def _introduce(spec: App, host: str, port: int) -> None:
    """Say what is served, where, with which keys, and one command to try it."""
    keys = resolve_keys(spec.endpoint)
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    table = Table.grid(padding=(0, 2))
    for model in spec.models:
        table.add_row("model", f"[bold]{model.id}[/bold]  from {shown(model)}, {model.slots} slots")
    table.add_row("base URL", f"[bold]{base}/v1[/bold]")
    table.add_row("keys", ", ".join(f"{key[:3]}…" for key in keys) if keys else "none: whoever reaches it may use it")
    if not keys and not _is_loopback(host):
        table.add_row("", "[yellow]it listens beyond this machine; set endpoint.api_keys to protect it[/yellow]")
    console.print(Panel(table, title=f"ixmodal {__version__}", title_align="left", expand=False))
    bearer = " -H 'Authorization: Bearer YOUR_KEY'" if keys else ""
    question = [{"role": "user", "content": "What is the capital of France?"}]
    body = json.dumps({"model": spec.models[0].id, "messages": question})
    console.print(f"curl {base}/v1/chat/completions{bearer} -d '{body}'", soft_wrap=True, markup=False, highlight=False)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
