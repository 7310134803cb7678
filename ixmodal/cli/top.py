"""`ixmodal top`."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ixmodal.cli.server import Server
from ixmodal.cli.standing import ModelStanding, Standing, look, quantile, speed
from ixmodal.cli.terminal import console, failure
from ixmodal.errors import IxmodalError
from ixmodal.server.telemetry import names

DEFAULT_URL = "http://127.0.0.1:8000"
_COLOURS = {"ready": "green", "failed": "red", "unreachable": "red", "cold": "dim"}
_COLUMNS = ("model", "state", "slots", "queue", "tokens/s", "TTFT p50", "p95", "requests", "restarts", "pid", "MiB")


def top(
    base_url: Annotated[str, typer.Option(help="Where the server is, with or without /v1.")] = DEFAULT_URL,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server wants one; an admin's shows all.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, print and end.")] = False,
) -> None:
    """Watch a running server: its models, slots, queue and speed. Ctrl-C ends it."""
    try:
        with Server(base_url, api_key) as server:
            before = look(server)
            if once:
                console.print(frame(before, None))
                return
            with Live(frame(before, None), console=console, auto_refresh=False, screen=console.is_terminal) as live:
                while True:
                    time.sleep(interval)
                    now = look(server)
                    live.update(frame(now, before), refresh=True)
                    before = now
    except KeyboardInterrupt:
        return
    except IxmodalError as error:
        raise failure(error) from None


def frame(now: Standing, before: Standing | None) -> RenderableType:
    """What is shown of one look; speeds are those since the look before. TTFT is of all requests since the start."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("model", "state") else "right", no_wrap=True)
    seconds = now.at - before.at if before else 0.0
    for id, model in now.models.items():
        table.add_row(*_row(model, speed(model, before.models.get(id) if before else None, seconds)))
    return Group(table, Text(), _slots(now))


def _row(model: ModelStanding, tokens: float | None) -> list[str]:
    colour = _COLOURS.get(model.state, "yellow")
    total = model.value(names.SLOTS)
    busy = model.value(names.RUNNING)
    return [
        escape(model.id),
        f"[{colour}]{model.state}[/{colour}]",
        f"{busy or 0:.0f}/{total:.0f}" if total is not None else f"{busy or 0:.0f}",
        _shown(model.value(names.WAITING)),
        _shown(tokens, 1),
        _seconds(quantile(model.first_token, 0.5)),
        _seconds(quantile(model.first_token, 0.95)),
        f"{model.first_token[-1][1]:.0f}" if model.first_token else "-",
        _shown(model.value(names.ENGINE_RESTARTS)),
        _shown(model.pid),
        _shown(model.memory_mib),
    ]


def _slots(now: Standing) -> RenderableType:
    if now.slots is None:
        return Text("Slots and processes are shown to admins: give an admin's key.", style="dim")
    busy = [slot for slot in now.slots if slot["is_processing"]]
    if not busy:
        return Text("No slot is busy.", style="dim")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("slot", "request", "prompt", "cached", "tokens", "seconds"):
        table.add_column(name, justify="left" if name in ("slot", "request") else "right", no_wrap=True)
    for slot in busy:
        counts = [str(slot[name]) for name in ("prompt_tokens", "cached_tokens", "tokens")]
        table.add_row(
            escape(f"{slot['model']} {slot['id']}"),
            escape(slot["request_id"] or "-"),
            *counts,
            f"{slot['seconds']:.1f}",
        )
    return table


def _shown(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
