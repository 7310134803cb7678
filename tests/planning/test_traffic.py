from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from ixmodal.errors import SpecError
from ixmodal.planning.traffic import Arrival, Lengths, draw_arrivals, read_trace


def test_random_traffic_has_the_rate_and_the_lengths_asked_for() -> None:
    arrivals = draw_arrivals(10, 2000, Lengths(300, 0.8), Lengths(100), seed=3)
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    prompts = [arrival.prompt_tokens for arrival in arrivals]
    assert statistics.fmean(prompts) == pytest.approx(300, rel=0.03)
    assert statistics.stdev(prompts) / statistics.fmean(prompts) == pytest.approx(0.8, rel=0.06)
    assert {arrival.completion_tokens for arrival in arrivals} == {100}
    assert arrivals == draw_arrivals(10, 2000, Lengths(300, 0.8), Lengths(100), seed=3)


def test_too_much_and_too_little_traffic_is_refused() -> None:
    with pytest.raises(SpecError, match="shorten it"):
        draw_arrivals(1000, 86_400, Lengths(1), Lengths(1))
    with pytest.raises(SpecError, match="lengthen it"):
        draw_arrivals(0.0001, 1, Lengths(1), Lengths(1))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "at,prompt_tokens,completion_tokens\n2.5,7,3\n0,5,9\n"),
        (
            "t.jsonl",
            '{"at": 2.5, "prompt_tokens": 7, "completion_tokens": 3}\n\n'
            '{"at": 0, "prompt_tokens": 5, "completion_tokens": 9, "note": "x"}\n',
        ),
    ],
)
def test_a_trace_is_read_in_order(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_trace(path) == [Arrival(0, 5, 9), Arrival(2.5, 7, 3)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no request"),
        ('{"at": -1, "prompt_tokens": 5, "completion_tokens": 9}', "line 1"),
        ('{"at": 0, "prompt_tokens": 5, "completion_tokens": 9}\nnonsense', "line 2"),
        ('{"at": 0, "prompt_tokens": 5}', "line 1"),
        ("[1, 2]", "line 1"),
    ],
)
def test_a_wrong_trace_is_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(SpecError, match=problem):
        read_trace(path)


def test_a_missing_trace_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="can't be read"):
        read_trace(tmp_path / "none.csv")
