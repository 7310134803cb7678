"""`ixmodal pull`."""

from __future__ import annotations

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ixmodal.cli.terminal import Spec, console, failure
from ixmodal.errors import IxmodalError
from ixmodal.spec.sources import load_spec
from ixmodal.weights import fetch, weights_directory


def pull(spec: Spec = None) -> None:
    """Download and verify the weights of a spec's models."""
    try:
        declared = load_spec(spec)
        for model in declared.local_models:
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
        raise failure(error) from None


def _progress() -> Progress:
    name = TextColumn("{task.description}")
    figures = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(name, BarColumn(), *figures, console=console, transient=True)
