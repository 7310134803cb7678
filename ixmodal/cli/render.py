"""`ixmodal render`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ixmodal.cli.terminal import console, errors, failure
from ixmodal.deploy.render import differences, write
from ixmodal.deploy.render import render as render_files
from ixmodal.errors import IxmodalError
from ixmodal.spec.sources import SPEC_VARIABLE, load_spec

OWN = "app.py", "app:spec"
"""The file of a deployment to Modal, and the spec in it."""
Spec = Annotated[
    str | None,
    typer.Argument(
        help="A .toml or .json file, or module:attribute; unset: IXMODAL_SPEC, else app:spec if there is one."
    ),
]


def render(
    spec: Spec = None,
    out: Annotated[Path, typer.Option(help="The directory to write into.")] = Path("infra"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not as rendered.")] = False,
) -> None:
    """Write a spec as Dockerfile, compose file and Kubernetes manifests. Run it where the image is built from."""
    try:
        files = render_files(load_spec(spec or _own()), out.resolve(), Path.cwd())
        changes = differences(files, out) if check else write(files, out)
    except IxmodalError as error:
        raise failure(error) from None
    for change in changes:
        (errors if check else console).print(f"{out / change}", soft_wrap=True, highlight=False)
    if check and changes:
        errors.print(f"{out} is not what the spec says; run `ixmodal render` again.", highlight=False)
        raise typer.Exit(1)
    console.print(f"[green]✓[/green] {out}: {len(files)} files as the spec says", highlight=False)


def _own() -> str | None:
    file, spec = OWN
    return spec if Path(file).is_file() and not os.environ.get(SPEC_VARIABLE) else None
