"""What a check finds: problems with their places, what a target does with the spec, and the whole report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ixmodal.deploy.checks.weights import ModelReport

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A sentence that names a field and says what to do. An error keeps the target from working, a warning does not."""

    level: Level
    text: str


def errors(texts: Iterable[str]) -> list[Finding]:
    """Findings that are all errors."""
    return [Finding("error", text) for text in texts]


@dataclass
class TargetReport:
    """What a target makes of the spec.

    `needed` and `available` are bytes of the memory that holds the models, on the GPU where there is one; None where
    that is not known. `is_intended` says whether the spec is meant for this target: only then do its errors count.
    """

    name: str
    is_intended: bool
    does: list[str]
    memory: str
    needed: int | None
    available: int | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """No error stands in the way."""
        return all(finding.level != "error" for finding in self.findings)


@dataclass
class Report:
    """All that was found. `findings` are those of the spec itself, wherever it runs."""

    spec: str
    models: list[ModelReport]
    targets: list[TargetReport]
    findings: list[Finding]

    @property
    def errors(self) -> list[str]:
        """What is wrong with the spec, and with the targets that it is meant for."""
        intended = [finding for target in self.targets if target.is_intended for finding in target.findings]
        return [finding.text for finding in [*self.findings, *intended] if finding.level == "error"]

    @property
    def is_fine(self) -> bool:
        """Nothing is wrong."""
        return not self.errors
