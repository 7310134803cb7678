"""Chats of ten turns: the time to the first token of the tenth, against a chat of that turn's new tokens alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bench.fleet import Fleet, Measured, fleet
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, milliseconds, number, ratio
from bench.servers import Setup
from bench.words import only_words
from ixmodal.benchmark.load import Answer
from ixmodal.benchmark.statistics import Spread

TURNS, WORDS, TOKENS = 10, 32, 8
ALONE = 40
"""Words of a chat of one turn that make as many tokens to read as a tenth turn of `WORDS`: that one also reads the end
of the ninth's answer, and every chat's first tokens, the template's, are in the cache."""


@dataclass(frozen=True)
class Pair:
    """A tenth turn and a chat of one turn: seconds to the first token, and tokens that were read for it."""

    tenth: float
    alone: float
    tenth_read: float | None
    alone_read: float | None
    cached: float | None


def measure(options: Options) -> Record:
    """On the model of 110 M."""
    return compare("chats", "110m", 2, options.repetitions or 5, options)


def compare(case: str, model: str, conversations: int, repetitions: int, options: Options) -> Record:
    """So many chats of ten turns, twice as many of one, again and again, on each server."""
    setup = Setup(model_file(model), slots=4, context=1024, threads=options.threads)
    found: dict[str, list[Pair]] = {name: [] for name in options.servers}
    body = {"logit_bias": only_words(setup.model)}
    with fleet(options.servers, setup, dict.fromkeys(options.servers, body)) as servers:
        for repetition in range(repetitions):
            for name in options.servers:
                if pair := _pair(servers, name, conversations, 2 * repetition + 1):
                    found[name].append(pair)
                    said = f"{milliseconds(pair.tenth)} ms, alone {milliseconds(pair.alone)} ms"
                    print(f"  {repetition + 1} {name:22} tenth turn {said}", flush=True)
        problems = servers.problems
    ratios = {name: Spread.of([pair.tenth / pair.alone for pair in pairs]) for name, pairs in found.items()}
    rows = [_row(name, pairs, ratios[name]) for name, pairs in found.items()]
    columns = ["", "tenth turn", "as many tokens alone", "ratio", "tokens read", "alone", "from the cache"]
    about = (
        f"{NAMES[model]}; {setup.threads} thread(s), 4 slots; turns of {WORDS} words ({ALONE} in a chat of one, "
        f"for as many tokens to read), answers of {TOKENS} tokens, restricted to whole words, so that they are read "
        "again as the tokens that they were written as."
    )
    requirements = [
        Requirement(f"{name}, tenth turn / as many tokens alone", ratios[name], at_most=1.25)
        for name in options.servers
        if name.startswith("ixmodal")
    ]
    runs = [{"server": name, "pairs": [asdict(pair) for pair in pairs]} for name, pairs in found.items()]
    table = Table("Milliseconds to the first token, medians", columns, rows)
    return Record(case, about, {}, [table], requirements, runs, sorted(set(problems)))


def _pair(servers: Fleet, name: str, conversations: int, seed: int) -> Pair | None:
    load: dict[str, Any] = {"max_tokens": TOKENS, "timeout": 90}
    long = servers.drive(name, conversations=conversations, turns=TURNS, prompt_words=WORDS, seed=seed, **load)
    short = servers.drive(name, conversations=2 * conversations, prompt_words=ALONE, seed=seed + 1, **load)
    tenth, alone = _answers(long, TURNS - 1), _answers(short, 0)
    if not tenth or not alone:
        return None
    first = [statistics.median(answer.deltas[0] for answer in answers) for answers in (tenth, alone)]
    cached = _median(answer.cached_tokens for answer in tenth)
    return Pair(*first, *(_median(_read(answer) for answer in answers) for answers in (tenth, alone)), cached)


def _answers(measured: Measured | None, turn: int) -> list[Answer]:
    answers = measured.run.answers if measured else []
    return [answer for answer in answers if answer.turn == turn and answer.deltas]


def _read(answer: Answer) -> int | None:
    if answer.prompt_tokens is None or answer.cached_tokens is None:
        return None
    return answer.prompt_tokens - answer.cached_tokens


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _row(name: str, pairs: list[Pair], spread: Spread | None) -> list[str]:
    times = [_median(getattr(pair, field) for pair in pairs) for field in ("tenth", "alone")]
    counts = [_median(getattr(pair, field) for pair in pairs) for field in ("tenth_read", "alone_read", "cached")]
    return [name, *map(milliseconds, times), ratio(spread), *(number(count, 0) for count in counts)]
