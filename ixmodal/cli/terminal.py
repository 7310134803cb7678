"""What the commands share: two consoles, the spec argument, and how a failure is told."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from ixmodal.errors import IxmodalError

console = Console()
errors = Console(stderr=True)
Spec = Annotated[
    str | None, typer.Argument(help="A .toml, .json or .py file, or module:attribute; unset: IXMODAL_SPEC.")
]


def failure(error: IxmodalError) -> typer.Exit:
    """Print what is wrong; raise what this returns, which ends the command with exit code 1."""
    errors.print(f"[bold red]error:[/bold red] {error.message}", soft_wrap=True, highlight=False)
    return typer.Exit(1)
