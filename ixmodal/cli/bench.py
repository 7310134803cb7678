"""`ixmodal bench`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ixmodal.benchmark.generator import run
from ixmodal.benchmark.load import Load
from ixmodal.benchmark.plot import check_plot
from ixmodal.benchmark.statistics import Distribution
from ixmodal.benchmark.summary import Summary, summarise
from ixmodal.cli.terminal import console, errors, failure
from ixmodal.errors import IxmodalError, SpecError


def bench(
    base_url: Annotated[str, typer.Option(help="The server, as OpenAI clients have it.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="The model's id there.")] = "demo",
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY", help="Its key.")] = None,
    streams: Annotated[str, typer.Option(help="Clients at a time, one step each.")] = "1,4,8,16",
    rate: Annotated[float | None, typer.Option(help="Conversations a second, at random times, instead.")] = None,
    conversations: Annotated[
        int | None, typer.Option(min=1, help="A step; unset: twice its streams, 8 or more.")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Of a conversation; each takes the answers along.")] = 1,
    prompt_words: Annotated[int, typer.Option(min=1, help="Of a user's turn.")] = 32,
    long_words: Annotated[int, typer.Option(min=1, help="Of a long one.")] = 512,
    long_every: Annotated[int, typer.Option(min=0, help="Every so manieth conversation begins long.")] = 0,
    system_words: Annotated[int, typer.Option(min=0, help="Of a system prompt that all share.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 64,
    ignore_eos: Annotated[bool, typer.Option(help="Send ignore_eos: answers of exactly max_tokens.")] = False,
    completions: Annotated[bool, typer.Option(help="Text completions instead of chats.")] = False,
    extra: Annotated[str, typer.Option(help="Further fields of each request, a JSON object.")] = "{}",
    runs: Annotated[int, typer.Option(min=1, help="Of each step, in turn; the median run is told.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one request.")] = 120,
    seed: Annotated[int, typer.Option(help="Of words and times; another shares no prompt with this one.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Write all runs to this JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file; needs ixmodal[plan].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a load on any OpenAI-compatible server: times to first token, between tokens, tokens a second."""
    try:
        load = Load(
            base_url=base_url,
            model=model,
            api_key=api_key,
            rate=rate,
            chat=not completions,
            turns=turns,
            prompt_words=prompt_words,
            long_words=long_words,
            long_every=long_every,
            system_words=system_words,
            max_tokens=max_tokens,
            body={**_extra(extra), **({"ignore_eos": True} if ignore_eos else {})},
            timeout=timeout,
            seed=seed,
        )
        if plot:
            check_plot(plot)
        steps = _steps(load, streams, conversations)
        found = _measure(steps, runs)
        if save:
            save.write_text(json.dumps(_record(steps, found), indent=2) + "\n")
        if plot:
            from ixmodal.benchmark.plot import plot as draw

            draw(f"{model} at {base_url}", [(name, _median(found[name])) for name in steps], plot)
    except IxmodalError as error:
        raise failure(error) from None
    except OSError as error:
        raise failure(SpecError(str(plot or save), [f"can't be written: {error.strerror or error}"])) from None
    if as_json:
        console.print_json(json.dumps(_record(steps, found)))
    else:
        _show(found)
    if not any(summary.complete for summaries in found.values() for summary in summaries):
        raise typer.Exit(1)


def _extra(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SpecError("--extra", [f"no JSON: {error}"]) from None
    if not isinstance(found, dict):
        raise SpecError("--extra", ['write a JSON object, such as {"top_k": 1}'])
    return found


def _steps(load: Load, streams: str, conversations: int | None) -> dict[str, Load]:
    """The loads by name: one for each number of streams, or the one of an open loop."""
    if load.rate is not None:
        return {f"{load.rate:g}/s": msgspec.structs.replace(load, conversations=conversations or 32)}
    try:
        counts = [int(part) for part in streams.split(",")]
    except ValueError:
        raise SpecError("--streams", [f"{streams} is no list of numbers such as 1,4,8"]) from None
    return {
        str(count): msgspec.structs.replace(load, streams=count, conversations=conversations or max(8, 2 * count))
        for count in counts
    }


def _measure(steps: dict[str, Load], runs: int) -> dict[str, list[Summary]]:
    found: dict[str, list[Summary]] = {name: [] for name in steps}
    for turn in range(runs):
        for place, (name, load) in enumerate(steps.items()):
            # No prompt of one step or run begins like one of another: what a cache holds is this run's own.
            seed = load.seed + 1_000_003 * (turn * len(steps) + place)
            with errors.status(f"{name}, run {turn + 1} of {runs}"):
                found[name].append(summarise(run(msgspec.structs.replace(load, seed=seed))))
    return found


def _median(summaries: list[Summary]) -> Summary:
    middle = statistics.median_low([summary.tokens_per_second for summary in summaries])
    return next(summary for summary in summaries if summary.tokens_per_second == middle)


def _record(steps: dict[str, Load], found: dict[str, list[Summary]]) -> list[dict[str, Any]]:
    return [
        {
            "step": name,
            "load": {**msgspec.to_builtins(load), "api_key": None},
            "runs": msgspec.to_builtins(found[name]),
        }
        for name, load in steps.items()
    ]


def _show(found: dict[str, list[Summary]]) -> None:
    table = Table("load", "done", "tokens", "tokens/s", box=SIMPLE_HEAD)
    for column in ("first p50", "p95", "next p50", "p95", "all p95"):
        table.add_column(column, justify="right")
    chosen = {name: _median(summaries) for name, summaries in found.items()}
    for name, summary in chosen.items():
        table.add_row(
            name,
            f"{summary.complete}/{summary.requests}",
            str(summary.tokens),
            f"{summary.tokens_per_second:.1f}",
            *_times(summary.first_token, "p50", "p95"),
            *_times(summary.inter_token, "p50", "p95"),
            *_times(summary.whole_answer, "p95"),
        )
    console.print(table)
    failed: dict[str, str] = {}
    for summary in (summary for summaries in found.values() for summary in summaries):
        failed |= {outcome: summary.detail for outcome in summary.outcomes if outcome != "complete"}
    for outcome, detail in failed.items():
        errors.print(f"[red]{outcome}[/red] {detail}", soft_wrap=True, highlight=False)
    counted = {summary.counted_by for summary in chosen.values()}
    share = max(summary.processor_share for summary in chosen.values())
    console.print("milliseconds to the first token, to the next, to all of the answer", style="dim")
    console.print(
        f"tokens counted by {', '.join(sorted(counted))}; this client used {share:.0%} of a core", style="dim"
    )


def _times(times: Distribution | None, *fields: str) -> list[str]:
    return [f"{1000 * getattr(times, field):.1f}" if times else "–" for field in fields]
