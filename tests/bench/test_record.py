from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import record as module
from bench.record import Record, Requirement, Table, write_document
from ixmodal.benchmark.statistics import Spread


@pytest.fixture
def record() -> Record:
    table = Table("Tokens a second", ["", "1"], [["ours", "12.0"], ["theirs", "10.0"]])
    requirements = [
        Requirement("ours / theirs", Spread(1.2, 1.1, 1.3), at_least=1.0),
        Requirement("late / early", Spread(1.3, 1.0, 1.4), at_most=1.25),
        Requirement("not measured", None, at_least=1.0),
    ]
    return Record(
        "streams", "one thread.", {}, [table], requirements, [{"x": 1 / 3}], ["theirs: hung"], command="python -m x"
    )


def test_requirements_are_judged_by_the_median(record: Record) -> None:
    assert [requirement.is_met for requirement in record.requirements] == [True, False, False]
    assert record.requirements[0].row() == ["ours / theirs", "≥ 1", "1.20 (1.10 to 1.30)", "yes"]
    assert record.requirements[1].row()[3] == "**no**"
    assert record.requirements[2].row()[2] == "–"


def test_the_document_holds_the_tables_of_what_is_recorded(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    record.write()
    content = json.loads((tmp_path / "streams.json").read_text())
    assert content["runs"] == [{"x": 0.3333}]
    assert [requirement["met"] for requirement in content["requirements"]] == [True, False, False]
    assert content["machine"]["cores"]
    picture = (tmp_path / "streams.svg").read_text()
    assert "ours / theirs" in picture
    assert "![streams](../bench/results/streams.svg)" in content["markdown"]
    record.write()
    assert (tmp_path / "streams.svg").read_text() == picture  # a record changes only with its figures
    document = tmp_path / "performance.md"
    document.write_text(
        "Before.\n<!-- case: streams -->\nold\n<!-- end -->\n<!-- case: crowd -->\n<!-- end -->\nAfter.\n"
    )
    assert write_document(document, tmp_path) == ["crowd"]
    text = document.read_text()
    assert "old" not in text
    for words in ("Before.", "After.", "`python -m x`; one thread.", "| ours | 12.0 |", "theirs: hung", "**no**"):
        assert words in text
    assert write_document(document, tmp_path) == ["crowd"]
    assert document.read_text() == text
