"""What a case hands back: tables, requirements and all runs; written as JSON, as Markdown and as a picture."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from bench.models import RESULTS
from bench.pictures import draw
from ixmodal.benchmark.statistics import Spread

DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"


@dataclass
class Table:
    """A table of text, with what it shows above it."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """GitHub's kind of table."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([f"{self.title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass
class Requirement:
    """A ratio that has to be reached."""

    what: str
    ratio: Spread | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """By the median; never without a figure."""
        if self.ratio is None:
            return False
        return (self.at_least is None or self.ratio.median >= self.at_least) and (
            self.at_most is None or self.ratio.median <= self.at_most
        )

    @property
    def bound(self) -> float:
        """The ratio that is wanted at least or at most."""
        bound = self.at_most if self.at_least is None else self.at_least
        assert bound is not None
        return bound

    def row(self) -> list[str]:
        """For a table."""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return [self.what, bound, ratio(self.ratio), "yes" if self.is_met else "**no**"]


@dataclass
class Chart:
    """Figures over steps, a line a server; None where there is no figure."""

    title: str
    across: str
    steps: list[str]
    series: dict[str, list[Spread | None]]


@dataclass
class Record:
    """All of one case."""

    case: str
    about: str
    settings: dict[str, Any]
    tables: list[Table]
    requirements: list[Requirement] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    chart: Chart | None = None
    command: str = ""
    picture: str = ""

    def markdown(self) -> str:
        """For docs/performance.md and for the terminal."""
        parts = [f"`{self.command}`; {self.about}", *(table.markdown() for table in self.tables)]
        if self.requirements:
            rows = [requirement.row() for requirement in self.requirements]
            wanted = Table("Ratios, median (least to most)", ["ratio", "wanted", "measured", "met"], rows)
            parts.append(wanted.markdown())
        if self.picture:
            parts.append(f"![{self.case}](../bench/results/{self.picture})")
        parts += [f"Not measured or not whole: {problem}" for problem in self.problems]
        return "\n\n".join(parts)

    def write(self) -> None:
        """To bench/results: JSON, with its Markdown, and a picture."""
        RESULTS.mkdir(exist_ok=True)
        picture = f"{self.case}.svg"
        self.picture = picture if draw(RESULTS / picture, self.chart, self.requirements) else ""
        content = {**asdict(self), "chart": None} | {"machine": describe_machine(), "python": platform.python_version()}
        for requirement, of in zip(content["requirements"], self.requirements, strict=True):
            requirement["ratio"] = of.ratio and [of.ratio.median, of.ratio.least, of.ratio.most]
            requirement["met"] = of.is_met
        content["markdown"] = self.markdown()
        path = RESULTS / f"{self.case}.json"
        path.write_text(json.dumps(_rounded(content), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    """Four significant places after the point are more than there is to know."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_document(document: Path = DOCUMENT, results: Path = RESULTS) -> list[str]:
    """Put each case's tables between its markers in the document; returns the cases that it names but nobody ran."""
    missing: list[str] = []

    def content(match: re.Match[str]) -> str:
        path = results / f"{match[2]}.json"
        if not path.exists():
            missing.append(match[2])
            return match[0]
        return f"{match[1]}\n{json.loads(path.read_text())['markdown']}\n{match[4]}"

    pattern = re.compile(r"(<!-- case: (\w+) -->)\n(.*?)(<!-- end -->)", re.DOTALL)
    document.write_text(pattern.sub(content, document.read_text()))
    return missing


def ratio(spread: Spread | None) -> str:
    """For example `1.04 (0.98 to 1.10)`."""
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})" if spread else "–"


def number(value: float | None, places: int = 1) -> str:
    """For a cell."""
    return "–" if value is None else f"{value:.{places}f}"


def milliseconds(seconds: float | None) -> str:
    """For a cell."""
    return "–" if seconds is None else f"{1000 * seconds:.0f}" if seconds > 0.1 else f"{1000 * seconds:.1f}"
