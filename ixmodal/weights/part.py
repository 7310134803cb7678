"""The file under way: the bytes so far, their running sum, and which version of the remote file they are of."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError


class _Note(BaseModel):
    validator: str


class Part:
    """A partial download that outlives the process. `validator` is the ETag or date that the bytes belong to."""

    def __init__(self, path: Path) -> None:
        """Open what an earlier run left and hash it; without a validator it can't be gone on with and is dropped."""
        self._note = path.with_name(path.name + ".json")
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        self._digest = hashlib.sha256()
        self.validator = self._read_note()
        self.size = 0
        self.total: int | None = None
        if self.validator is None:
            self.restart(None)
        while block := self._file.read(1 << 20):
            self._digest.update(block)
            self.size += len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        """The sum of the bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def restart(self, validator: str | None) -> None:
        """Drop the bytes and start on the version that `validator` names."""
        self._note.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.size, self.total, self.validator = 0, None, validator
        if validator is not None:
            self._note.write_text(_Note(validator=validator).model_dump_json())

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def flush(self) -> None:
        """Hand every byte to the system, so that a full disk shows now."""
        self._file.flush()

    def _read_note(self) -> str | None:
        try:
            return _Note.model_validate_json(self._note.read_bytes()).validator
        except (OSError, ValidationError):
            return None
