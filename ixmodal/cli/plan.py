"""`ixmodal plan`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ixmodal.cli.terminal import Spec, console, failure
from ixmodal.errors import IxmodalError, SpecError
from ixmodal.spec import App
from ixmodal.spec.sources import load_spec

if TYPE_CHECKING:
    from ixmodal.planning.report import Latency, Report
    from ixmodal.planning.speeds import Speeds
    from ixmodal.planning.traffic import Arrival

Rate = Annotated[float, typer.Option(min=0.000_001, help="Requests a second, arriving at random.")]
Tokens = Annotated[float, typer.Option(min=1, help="Mean tokens.")]


def plan(
    spec: Spec = None,
    speeds: Annotated[Path | None, typer.Option(help="JSON file of measured speeds.")] = None,
    measure: Annotated[str | None, typer.Option(help="Measure this running server (http://…/v1) now.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep what was measured in this file.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key for --measure.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Traffic: .csv or .jsonl of at, prompt_tokens, …")] = None,
    rate: Rate = 1.0,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of traffic.")] = 3600,
    prompt_tokens: Tokens = 256,
    completion_tokens: Tokens = 128,
    variation: Annotated[float, typer.Option(min=0, max=10, help="Standard deviation of lengths / mean.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the random traffic.")] = 0,
    target: Annotated[str, typer.Option(help="platform: replicas that scale; local: one process.")] = "platform",
    cold_start: Annotated[float, typer.Option(min=0, help="Seconds from start of a replica to ready.")] = 15,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one replica an hour.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate a spec under a load: latencies, replicas and cost, before it is deployed.

    It needs the extra: pip install 'ixmodal[plan]'.
    """
    try:
        declared = load_spec(spec)
        if not declared.local_models:
            raise SpecError("the plan", ["every model is on another server; there is none here to plan for"])
        if target not in ("platform", "local"):
            raise SpecError("--target", [f"{target} is not known; write platform or local"])
        figures = _speeds(declared, speeds, measure, save, api_key)
        arrivals = _arrivals(trace, rate, duration, (prompt_tokens, completion_tokens, variation), seed)
        _require_extra(plot)
        from ixmodal.planning.report import report
        from ixmodal.planning.simulation import Deployment, simulate

        is_local = target == "local"
        deployment = (
            Deployment.on_one_machine(declared) if is_local else Deployment.on_platform(declared, cold_start=cold_start)
        )
        outcome = simulate(arrivals, deployment, figures)
        result = report(outcome, price)
        if plot:
            from ixmodal.planning.plot import plot as draw

            draw(outcome, plot, f"{declared.name}: {len(arrivals)} requests")
    except IxmodalError as error:
        raise failure(error) from None
    except OSError as error:
        raise failure(SpecError(str(plot or save), [f"can't be written: {error.strerror or error}"])) from None
    if as_json:
        console.print_json(json.dumps(asdict(result)))
    else:
        _show(result)


def _speeds(spec: App, file: Path | None, measure: str | None, save: Path | None, key: str | None) -> Speeds:
    from ixmodal.planning.speeds import read_speeds

    if file and not measure:
        return read_speeds(file)
    if not measure:
        raise SpecError("the plan", ["give --speeds FILE, or --measure http://127.0.0.1:8000/v1 of a running server"])
    from ixmodal.planning.measure import SpeedMeter

    model = spec.local_models[0]
    console.print(f"measuring {measure} …", style="dim")
    with closing(SpeedMeter(measure, model.id, key)) as meter:
        batches = None if model.engine == "auto" else model.engine == "llama_cpp"
        figures = meter.measure(model.slots, batch_size=model.batch_size, batches=batches)
    if save:
        save.write_text(figures.model_dump_json(indent=2) + "\n")
    return figures


def _arrivals(
    trace: Path | None, rate: float, duration: float, lengths: tuple[float, float, float], seed: int
) -> list[Arrival]:
    from ixmodal.planning.traffic import Lengths, draw_arrivals, read_trace

    if trace:
        return read_trace(trace)
    prompt, completion, variation = lengths
    return draw_arrivals(rate, duration, Lengths(prompt, variation), Lengths(completion, variation), seed)


def _require_extra(plot: Path | None) -> None:
    try:
        import simpy  # noqa: F401  # only whether it is there

        if plot:
            import matplotlib  # noqa: F401  # likewise
    except ImportError as error:
        raise SpecError("the plan", [f"{error.name} is not installed; run pip install 'ixmodal[plan]'"]) from None
    if plot and plot.suffix not in (".png", ".svg", ".pdf"):
        raise SpecError("--plot", [f"{plot.name} ends in {plot.suffix or 'nothing'}; write a .png, .svg or .pdf"])


def _show(result: Report) -> None:
    latencies = Table("seconds", "mean", "p50", "p90", "p95", "p99", title_justify="left")
    rows: list[tuple[str, Latency | None]] = [
        ("until it starts", result.waiting),
        ("until its first token", result.first_token),
        ("until it is whole", result.whole_answer),
    ]
    for name, row in rows:
        if row:
            latencies.add_row(name, *(f"{value:.2f}" for value in (row.mean, row.p50, row.p90, row.p95, row.p99)))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("requests", f"{result.requests}: {result.completed} completed, {result.refused} refused")
    facts.add_row("answers", f"{result.completion_tokens_per_second:.1f} tokens/s over {result.seconds:.0f} s")
    facts.add_row("replicas", f"{result.mean_replicas:.2f} on average, {result.most_replicas} at most")
    facts.add_row("engines busy", f"{result.utilization:.0%} of the time that is paid")
    if result.cost is not None:
        facts.add_row("cost", f"{result.cost:.4f}")
    if result.cost_per_thousand_requests is not None and result.cost_per_million_tokens is not None:
        facts.add_row("", f"{result.cost_per_thousand_requests:.4f} a thousand requests")
        facts.add_row("", f"{result.cost_per_million_tokens:.2f} a million tokens of answers")
    console.print(latencies)
    console.print(facts)
