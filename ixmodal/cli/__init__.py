"""The command line: one file a command, imported when the command is asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ixmodal import __version__
from ixmodal.cli.terminal import console

COMMANDS = ("serve", "pull", "models", "chat", "top", "check", "plan", "bench", "render", "deploy", "key")
"""The commands, in the order in which help lists them: function NAME of the module `ixmodal.cli.NAME`."""


class Commands(TyperGroup):
    """The commands by name. A command's module may import what is heavy: only that command pays for it."""

    # Contexts and commands are of Typer's own copy of click, which has no public name.
    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        only = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        only.command(cmd_name)(getattr(importlib.import_module(f"ixmodal.cli.{cmd_name}"), cmd_name))
        return typer.main.get_command(only)


main = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@main.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Serve open language models from GGML weights, here or on cloud GPUs, from one declaration."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
    here = str(Path.cwd())  # specs and tools in Python lie here, as they do for uvicorn and `modal deploy`
    if here not in sys.path:
        sys.path.insert(0, here)
