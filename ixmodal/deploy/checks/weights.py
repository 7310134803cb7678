"""The models of a spec: is the file here, is it what it should be, and what will it take in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ixmodal.deploy.checks.findings import Finding
from ixmodal.errors import WeightsError
from ixmodal.models.chat_template import ChatTemplate
from ixmodal.models.engines import judge
from ixmodal.models.inspect import ModelFile
from ixmodal.models.memory import Need, most_slots
from ixmodal.models.vocabulary import Vocabulary
from ixmodal.runtime.engines import declared_need, layers_of, threads_of
from ixmodal.spec import App, Model
from ixmodal.weights import locate, verify, weights_directory
from ixmodal.weights.places import shown

State = Literal["here", "to be downloaded", "not here", "wrong", "upstream"]


@dataclass
class ModelReport:
    """A model: where its file is, how large, what it needs. Sizes in bytes; None: not known before it is here."""

    id: str
    source: str
    state: State
    path: str | None = None
    size: int | None = None
    architecture: str | None = None
    engine: str | None = None
    context_length: int | None = None
    slots: int = 0
    threads: int | None = None
    need: Need | None = None
    findings: list[Finding] = field(default_factory=list)


def check_model(model: Model, spec: App) -> ModelReport:
    """Look at one model without any network. Nothing is raised: what is wrong is in the findings."""
    if model.upstream:
        return ModelReport(model.id, model.upstream.url, "upstream")
    report = ModelReport(model.id, shown(model), "to be downloaded", context_length=model.context_length)
    report.slots = model.slots
    report.findings += [*_unpinned(model), *_own_template(model)]
    try:
        path = locate(model, weights_directory(spec))
        if path is None:
            return report
        report.path, report.size = str(path), path.stat().st_size
        found = judge(path, model.engine)
        verify(model, path)
    except WeightsError as error:
        is_absent = model.source.startswith("file://") and report.path is None
        report.state = "not here" if is_absent and spec.weights else "wrong"
        level: Literal["error", "warning"] = "warning" if report.state == "not here" else "error"
        report.findings.append(Finding(level, error.message))
        return report
    _describe(report, model, spec, found, path)
    return report


def _describe(report: ModelReport, model: Model, spec: App, found: ModelFile, path: Path) -> None:
    report.state = "here"
    report.architecture, report.engine = found.architecture, found.engine
    report.context_length = model.context_length or found.context_length
    report.threads = threads_of(model, spec, path.stat().st_size)
    report.need = declared_need(model, found)
    most = most_slots(found, layers_of(model))
    if most is not None and model.slots > most:
        text = f"slots: ctransformers holds {most} of this model at most, not {model.slots}; write {most} or fewer"
        report.findings.append(Finding("error", text))
    if report.context_length > found.context_length:
        report.findings.append(
            Finding(
                "warning",
                f"context_length: {report.context_length} tokens, but the model was trained on {found.context_length}; "
                "answers get worse beyond that",
            )
        )
    report.findings += _file_template(model, found)


def _unpinned(model: Model) -> list[Finding]:
    if model.source.startswith("package://") or model.sha256 or model.part_sha256:
        return []
    texts = []
    if not model.source.startswith("file://"):
        texts.append("sha256 is not given: whatever the source serves that day is taken; pin it")
    if model.source.startswith("hf://") and not model.revision:
        texts.append("revision is not given: the repository's main branch may change; pin a commit")
    return [Finding("warning", text) for text in texts]


def _own_template(model: Model) -> list[Finding]:
    if model.chat_template is None:
        return []
    try:
        ChatTemplate(model.chat_template, Vocabulary((), (), None, None))
    except ValueError as error:
        return [Finding("error", f"chat_template: {error}")]
    return []


def _file_template(model: Model, found: ModelFile) -> list[Finding]:
    if model.chat_template:
        return []
    if found.chat_template is None:
        text = "neither the file nor the spec has a chat template, so chat requests are refused; set chat_template"
        return [Finding("warning", text)]
    try:
        ChatTemplate(found.chat_template, found.vocabulary)
    except ValueError as error:
        return [Finding("warning", f"the file's own template is of no use: {error}; set chat_template")]
    return []
