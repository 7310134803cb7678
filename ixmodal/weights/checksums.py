"""SHA-256 sums: computed once, remembered beside the file, and held against the spec."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ixmodal.errors import WeightsError
from ixmodal.models.inspect import check_magic
from ixmodal.spec import Model
from ixmodal.weights.job import Job


class Record(BaseModel):
    """The sum that a file had when it had this size (bytes) and this time of change (nanoseconds).

    `parts` are the sums of the files that it was merged from.
    """

    size: int
    mtime_ns: int
    sha256: str
    parts: tuple[str, ...] = ()


def verify(model: Model, path: Path) -> None:
    """Hold a file against the sum that the spec gives, if it gives one.

    A record beside the file spares hashing it again; where none can be written, the file is hashed each time.

    Raises:
        WeightsError: another sum, or a file that can't be read.
    """
    if model.sha256 is None:
        return
    try:
        found = _examine(path)
        if found.sha256 == model.sha256 and not model.source.startswith("package://"):
            _remember(path, found)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}; check the source of {model.id}") from None
    if found.sha256 != model.sha256:
        raise mismatch(str(path), found.sha256, model.sha256)


def is_intact(model: Model, path: Path) -> bool:
    """Whether a downloaded file is still what the spec says or, where that is silent, what was downloaded."""
    record = _recorded(path)
    if model.part_sha256 and (record is None or record.parts != model.part_sha256):
        return False
    expected = model.sha256 or (record.sha256 if record else None)
    if expected is None:
        return True
    found = _examine(path)
    if found.sha256 == expected:
        _remember(path, found)
    return found.sha256 == expected


def sum_of(path: Path) -> str:
    """The sum of a file that was settled, as recorded."""
    record = _recorded(path)
    return record.sha256 if record else hash_file(path)


def settle(job: Job, sha256: str, parts: tuple[str, ...] = ()) -> None:
    """Give the whole file at `job.part` its final name, if it is what it should be.

    Args:
        job: the download.
        sha256: the file's sum.
        parts: the sums of the files that it was merged from.

    Raises:
        WeightsError: a wrong sum or no GGUF file; nothing is kept.
    """
    try:
        if job.model.sha256 not in (None, sha256):
            raise mismatch(job.name, sha256, str(job.model.sha256))
        with job.part.open("rb") as file:
            start = file.read(16)
            if job.model.sha256 is None:
                check_magic(start, job.name)
            now = int(time.time())  # whole seconds: some network volumes keep no more, and the record must still hold
            os.utime(job.part, (now, now))
            os.fsync(file.fileno())
    except WeightsError:
        job.discard()
        raise
    job.part.replace(job.target)
    job.discard()
    _remember(job.target, _describe(job.target, sha256, parts))


def mismatch(name: str, found: str, declared: str) -> WeightsError:
    """The error of a file that is not the declared one."""
    return WeightsError(f"{name} has sha256 {found}, the spec says {declared}; find out which is right and correct it")


def hash_file(path: Path) -> str:
    """The file's sum in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _examine(path: Path) -> Record:
    record = _recorded(path)
    now = _describe(
        path, *((record.sha256, record.parts) if record else ("",))
    )  # before hashing: a change meanwhile must show
    return now if now == record else now.model_copy(update={"sha256": hash_file(path)})


def _describe(path: Path, sha256: str, parts: tuple[str, ...] = ()) -> Record:
    stat = path.stat()
    return Record(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256, parts=parts)


def record_path(path: Path) -> Path:
    """Where a file's record is."""
    return path.with_name(path.name + ".verified.json")


def _recorded(path: Path) -> Record | None:
    with suppress(OSError, ValidationError):
        return Record.model_validate_json(record_path(path).read_bytes())
    return None


def _remember(path: Path, record: Record) -> None:
    if record != _recorded(path):
        with suppress(OSError):  # a read-only place: it is hashed again next time
            record_path(path).write_text(record.model_dump_json())
