"""The command line: one file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from ixmodal import __version__
from ixmodal.cli.pull import pull
from ixmodal.cli.serve import serve
from ixmodal.cli.terminal import console

main = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (serve, pull):
    main.command()(command)


@main.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Serve open language models from GGML weights, here or on cloud GPUs, from one declaration."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
