"""From a job to its file in place: one file, or the parts of a split model and their union."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ixmodal.errors import WeightsError
from ixmodal.models.engines import judge_architecture
from ixmodal.models.gguf import read_header
from ixmodal.models.gguf_split import Union
from ixmodal.spec import Model
from ixmodal.weights import checksums
from ixmodal.weights.job import Job
from ixmodal.weights.places import parts_of


def download(job: Job) -> Path:
    """Bring the job's file to its target. The caller holds its lock. Raises as `fetch` does."""
    parts = parts_of(job.model)
    if not parts:
        return _pull(job)
    paths: list[Path] = []
    for part in parts:
        paths.append(_pull_part(job, part, paths))
        if len(paths) == 1:
            judge_architecture(read_header(paths[0]), job.model.engine)  # before gigabytes follow
    sums = tuple(checksums.sum_of(path) for path in paths)
    union = _union(paths)
    try:
        job.reserve(union.size - job.arrived)
        checksums.settle(job, _write(job, union.blocks()), sums)
    except WeightsError:
        job.discard()
        raise
    _remove(paths)
    return job.target


def _union(paths: list[Path]) -> Union:
    try:
        return Union([read_header(path) for path in paths])
    except WeightsError:
        _remove(paths)  # they are of no use, and would be found again
        raise


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        checksums.record_path(path).unlink(missing_ok=True)


def _pull(job: Job) -> Path:
    # Imported here: a start with its weights in place needs no HTTP client.
    if job.model.source.startswith("hf://"):
        from ixmodal.weights.hub import pull
    else:
        from ixmodal.weights.https import pull
    checksums.settle(job, pull(job))
    return job.target


def _pull_part(whole: Job, part: Model, before: list[Path]) -> Path:
    name = (part.file or part.source.partition("?")[0]).rpartition("/")[2]
    arrived = sum(path.stat().st_size for path in before)
    job = Job(
        part,
        whole.target.with_name(name),
        whole.seconds_left(),
        lambda done, total: whole.progress(arrived + done, None),  # how large the others are is not known yet
    )
    if job.target.is_file() and checksums.is_intact(part, job.target):
        return job.target
    return _pull(job)


def _write(job: Job, blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with job.part.open("wb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
            job.seconds_left()
    return digest.hexdigest()
