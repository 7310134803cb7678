"""docs/operating.md knows every error code that the server sends, every metric and every alert."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ixmodal.deploy.monitoring import rules
from ixmodal.server.telemetry import names
from ixmodal.spec import App
from tests.support.server import ROOT

TEXT = (ROOT / "docs/operating.md").read_text("utf-8")
SOURCES = [path for room in ("server", "runtime", "engine") for path in sorted((ROOT / "ixmodal" / room).rglob("*.py"))]
SOURCES.append(ROOT / "ixmodal/errors.py")


def pattern_of(value: ast.expr) -> str | None:
    """A string as a pattern; what an f-string puts in may be any word."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return re.escape(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"\w+" for p in value.values)
    return None


def assigned(node: ast.AST) -> Iterator[ast.expr]:
    """The values that an argument or a variable called `code` is given."""
    if isinstance(node, ast.keyword) and node.arg == "code":
        yield node.value
    if (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "code"
        and node.value
    ):
        yield node.value
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == "code":
                yield node.value
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                yield from (value for name, value in pairs if isinstance(name, ast.Name) and name.id == "code")


def sent(path: Path) -> set[str]:
    found = (pattern_of(value) for node in ast.walk(ast.parse(path.read_text("utf-8"))) for value in assigned(node))
    return {pattern for pattern in found if pattern}


def table(mark: str) -> list[str]:
    """The names in the first column of the table below a mark."""
    rows = TEXT.split(f"<!-- {mark} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


@pytest.fixture(scope="module")
def codes() -> set[str]:
    return set().union(*map(sent, SOURCES))


def test_every_code_is_in_the_table(codes: set[str]) -> None:
    assert {"server_busy", "context_length_exceeded", "unknown_url"} <= codes
    missing = [code for code in codes if not any(re.fullmatch(code, row) for row in table("codes"))]
    assert not missing, f"add a row to the table in docs/operating.md for {missing}"


def test_the_table_has_no_code_that_is_not_sent(codes: set[str]) -> None:
    rows = table("codes")
    assert [row for row in rows if not any(re.fullmatch(code, row) for code in codes)] == []
    assert len(set(rows)) == len(rows)


def test_every_metric_is_in_its_table_and_no_other() -> None:
    assert sorted(table("metrics")) == sorted(names.ALL)


def test_every_alert_has_a_section_and_no_other_has() -> None:
    alerts = {rule["alert"] for rule in rules(App())["groups"][0]["rules"]}
    assert set(re.findall(r"^### (Ixmodal\w+)$", TEXT, re.MULTILINE)) == alerts
