"""`ixmodal check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from ixmodal.cli.terminal import Spec, console, failure
from ixmodal.deploy.checks import TARGETS, Finding, ModelReport, Report, TargetReport
from ixmodal.deploy.checks import check as check_spec
from ixmodal.errors import IxmodalError, SpecError
from ixmodal.spec.sources import load_spec

_SIGNS = {"error": "[bold red]✗[/bold red]", "warning": "[yellow]![/yellow]"}
_STATES = {"here": "[green]here[/green]", "wrong": "[bold red]wrong[/bold red]"}


def check(
    spec: Spec = None,
    target: Annotated[
        list[str] | None, typer.Option(help=f"Must work: {', '.join(TARGETS)}; unset: what the spec is meant for.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each target will make of a spec, what it needs, and everything that is wrong with it.

    Exit code 1 if anything is wrong. Nothing is started, sent or downloaded.
    """
    wanted = target or []
    try:
        if unknown := next((name for name in wanted if name not in TARGETS), None):
            raise SpecError("--target", [f"{unknown} is not known; write one of {', '.join(TARGETS)}"])
        declared = load_spec(spec)
    except SpecError as error:
        if not as_json:
            raise failure(error) from None
        print_json({"spec": error.source, "is_fine": False, "errors": error.problems})
        raise typer.Exit(1) from None
    except IxmodalError as error:
        raise failure(error) from None
    report = check_spec(declared, spec or declared.name, wanted)
    if as_json:
        print_json(_as_data(report))
    else:
        _show(report)
    if not report.is_fine:
        raise typer.Exit(1)


def print_json(data: object) -> None:
    """Print JSON for programs: one line, no colours."""
    print(json.dumps(data))  # noqa: T201  # rich would wrap and colour it


def _as_data(report: Report) -> dict[str, object]:
    targets = [{**asdict(target), "works": target.works} for target in report.targets]
    return {**asdict(report), "targets": targets, "is_fine": report.is_fine}


def _show(report: Report) -> None:
    console.print(_models(report.models))
    console.print(_targets(report.targets))
    for finding in report.findings:
        _tell(finding)
    for target in report.targets:
        for finding in target.findings:
            _tell(finding, target)
    if report.is_fine:
        console.print(f"[green]✓[/green] {report.spec} is fine", highlight=False, soft_wrap=True)
    else:
        console.print(f"[bold red]✗[/bold red] {report.spec} needs the corrections above", highlight=False)


def _tell(finding: Finding, target: TargetReport | None = None) -> None:
    where = f"{target.name}: " if target else ""
    style = "dim" if target and not target.is_intended else ""
    console.print(_SIGNS[finding.level], end=" ")
    console.print(f"{where}{finding.text}", style=style, soft_wrap=True, highlight=False, markup=False)


def _models(models: list[ModelReport]) -> Table:
    table = Table(
        "model", "weights", "size", "context", "cache", "work", "saved", title_justify="left", box=None, pad_edge=False
    )
    for model in models:
        need = model.need
        table.add_row(
            f"[bold]{model.id}[/bold]\n[dim]{model.source}[/dim]",
            _STATES.get(model.state, model.state),
            size_text(model.size),
            f"{model.slots} × {model.context_length or '?'} tokens" if model.slots else "",
            size_text(need.cache) if need else "",
            size_text(need.work) if need else "",
            size_text(need.saved) if need else "",
        )
    return table


def _targets(targets: list[TargetReport]) -> Table:
    table = Table("target", "", "needed", "there", "what happens there", box=None, pad_edge=False)
    for target in targets:
        table.add_row(
            f"[bold]{target.name}[/bold]" if target.is_intended else f"[dim]{target.name}[/dim]",
            "[green]works[/green]" if target.works else "[red]no[/red]" if target.is_intended else "[dim]no[/dim]",
            size_text(target.needed) if target.needed else "unknown",
            f"{size_text(target.available)}\n[dim]{target.memory}[/dim]" if target.available else "[dim]not said[/dim]",
            "\n".join(target.does),
        )
    return table


def size_text(size: int | None) -> str:
    """Bytes for people."""
    if size is None:
        return "unknown"
    return f"{size / 1024**3:.2f} GiB" if size >= 1024**3 else f"{size / 1024**2:.1f} MiB"
