"""Chats of ten turns: the time to the first token of the tenth, against a chat that holds no more than that turn."""

from __future__ import annotations

import statistics

from bench.fleet import Fleet, Measured, fleet
from bench.models import NAMES, model_file
from bench.options import Options
from bench.record import Record, Requirement, Table, milliseconds, ratio
from bench.servers import Setup
from bench.words import only_words
from ixmodal.benchmark.statistics import Spread

TURNS, WORDS, TOKENS, FRESH = 10, 32, 8, 4
Pair = tuple[float, float, int]


def measure(options: Options) -> Record:
    """Two chats of ten turns and four of one, again and again, on each server."""
    setup = Setup(model_file("110m"), slots=4, context=1024, threads=options.threads)
    found: dict[str, list[Pair]] = {name: [] for name in options.servers}
    body = {"logit_bias": only_words(setup.model)}
    with fleet(options.servers, setup, dict.fromkeys(options.servers, body)) as servers:
        for repetition in range(options.repetitions or 3):
            for name in options.servers:
                if pair := _pair(servers, name, 2 * repetition + 1):
                    found[name].append(pair)
                    said = f"{1000 * pair[0]:7.1f} ms, alone {1000 * pair[1]:7.1f} ms, {pair[2]} tokens cached"
                    print(f"  {repetition + 1} {name:22} tenth turn {said}", flush=True)
        problems = servers.problems
    ratios = {name: Spread.of([tenth / alone for tenth, alone, _ in pairs]) for name, pairs in found.items()}
    rows = [_row(name, pairs, ratios[name]) for name, pairs in found.items()]
    columns = ["", "tenth turn", "that turn alone", "ratio", "tokens of the tenth's prompt from the cache"]
    about = (
        f"{NAMES['110m']}; {setup.threads} thread(s), 4 slots; turns of {WORDS} words, answers of {TOKENS} tokens, "
        f"restricted to whole words, so that they are read again as the tokens that they were written as."
    )
    requirements = [
        Requirement(f"{name}, tenth turn / that turn alone", ratios[name], at_most=1.25)
        for name in options.servers
        if name.startswith("ixmodal")
    ]
    runs = [{"server": name, "pairs": pairs} for name, pairs in found.items()]
    table = Table("Milliseconds to the first token, medians", columns, rows)
    return Record("chats", about, {}, [table], requirements, runs, sorted(set(problems)))


def _pair(servers: Fleet, name: str, seed: int) -> Pair | None:
    long = servers.drive(name, conversations=2, turns=TURNS, prompt_words=WORDS, max_tokens=TOKENS, seed=seed)
    alone = servers.drive(name, conversations=FRESH, prompt_words=WORDS, max_tokens=TOKENS, seed=seed + 1)
    tenth, short = _firsts(long, TURNS - 1), _firsts(alone, 0)
    if not long or not tenth or not short:
        return None
    return statistics.median(tenth), statistics.median(short), long.run.answers[-1].cached_tokens or 0


def _firsts(measured: Measured | None, turn: int) -> list[float]:
    answers = measured.run.answers if measured else []
    return [answer.deltas[0] for answer in answers if answer.turn == turn and answer.deltas]


def _row(name: str, pairs: list[Pair], spread: Spread | None) -> list[str]:
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    if not medians:
        return [name, "–", "–", "–", "–"]
    cached = f"{medians[2]:.0f}" if name != "llama-cpp-python" else "not told"
    return [name, milliseconds(medians[0]), milliseconds(medians[1]), ratio(spread), cached]
