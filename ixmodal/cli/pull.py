"""`ixmodal pull`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ixmodal.cli.terminal import Spec, console, failure
from ixmodal.errors import IxmodalError
from ixmodal.spec import App, Model
from ixmodal.spec.sources import load_spec
from ixmodal.weights import fetch, weights_directory


def pull(spec: Spec = None) -> None:
    """Download and verify the weights of a spec's models."""
    try:
        declared = load_spec(spec)
        for model in declared.local_models:
            path = _pull(model, declared)
            console.print(f"[green]✓[/green] {model.id}: {path}", soft_wrap=True, highlight=False)
    except IxmodalError as error:
        raise failure(error) from None


def _pull(model: Model, spec: App) -> Path:
    with _progress() as bar:
        task = bar.add_task(model.id, total=None)

        def wait(target: Path) -> None:
            console.print(f"another process is downloading {target}; waiting for it", soft_wrap=True, highlight=False)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        return fetch(model, weights_directory(spec), report, timeout=spec.limits.download_timeout, on_wait=wait)


def _progress() -> Progress:
    name = TextColumn("{task.description}")
    figures = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(name, BarColumn(), *figures, console=console, transient=True)
