"""`ixmodal deploy`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from ixmodal.cli.terminal import Spec, failure
from ixmodal.deploy.checks import check
from ixmodal.deploy.modal.checks import downloads
from ixmodal.errors import IxmodalError, SpecError
from ixmodal.spec.sources import SPEC_VARIABLE, load_spec

MODULE = "ixmodal.deploy.modal.declared"
"""What is deployed: the app of the spec that `IXMODAL_SPEC` names."""


def deploy(
    spec: Spec = None,
    env: Annotated[str | None, typer.Option("--env", "-e", help="Modal environment.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the deployment; unset: the spec's.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of this version.")] = None,
    strategy: Annotated[str | None, typer.Option(help="rolling or recreate.")] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Put the weights onto the volume first.")] = False,
) -> None:
    """Check a spec and deploy it to Modal with `modal deploy`. It needs an account: run `modal setup` once."""
    try:
        declared = load_spec(spec)
        problems = check(declared, targets=["modal"]).errors
        if pull and not (declared.weights and downloads(declared)):
            problems.append("--pull: there is nothing to pull onto a volume; leave it out")
        if problems:
            raise SpecError(spec or "the spec", problems)
    except IxmodalError as error:
        raise failure(error) from None
    environ = {**os.environ, SPEC_VARIABLE: spec} if spec else dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    options = {"--env": env, "--name": name, "--tag": tag, "--strategy": strategy}
    given = [part for option, value in options.items() if value for part in (option, value)]
    if pull:
        environment = ["--env", env] if env else []
        _modal(["run", *environment, "-m", f"{MODULE}::pull"], environ)
    _modal(["deploy", *given, "-m", MODULE], environ)


def _modal(arguments: list[str], environ: dict[str, str]) -> None:
    code = subprocess.run([sys.executable, "-m", "modal", *arguments], env=environ, check=False).returncode
    if code:
        raise typer.Exit(code)
