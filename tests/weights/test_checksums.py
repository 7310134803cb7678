from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ixmodal import Model
from ixmodal.errors import WeightsError
from ixmodal.weights import checksums, locate, verify
from ixmodal.weights.places import target_path
from tests.weights.conftest import CONTENT, SHA256, web


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were really hashed."""
    paths: list[Path] = []
    original = checksums.hash_file

    def hash_file(path: Path) -> str:
        paths.append(path)
        return original(path)

    monkeypatch.setattr(checksums, "hash_file", hash_file)
    return paths


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return path


def declared(file: Path, sha256: str | None = SHA256) -> Model:
    return Model("m", source=f"file://{file}", sha256=sha256)


def test_a_file_is_hashed_once(file: Path, hashed: list[Path]) -> None:
    verify(declared(file), file)
    verify(declared(file), file)
    assert hashed == [file]
    assert json.loads((file.parent / "m.gguf.verified.json").read_bytes())["sha256"] == SHA256


def test_a_changed_file_is_hashed_again(file: Path, hashed: list[Path]) -> None:
    verify(declared(file), file)
    file.write_bytes(CONTENT[:-1] + b"!")
    os.utime(file, ns=(1, 1))
    with pytest.raises(WeightsError, match=rf"m.gguf has sha256 [0-9a-f]{{64}}, the spec says {SHA256}; "):
        verify(declared(file), file)
    assert len(hashed) == 2


def test_another_declared_sum_needs_no_hashing(file: Path, hashed: list[Path]) -> None:
    verify(declared(file), file)
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, the spec says {'0' * 64}"):
        verify(declared(file, "0" * 64), file)
    assert len(hashed) == 1


def test_without_a_declared_sum_nothing_is_hashed(file: Path, hashed: list[Path]) -> None:
    verify(declared(file, None), file)
    assert hashed == []


@pytest.mark.parametrize("record", ["", "{", "[]", '{"size": "x"}', '{"size": 1, "mtime_ns": 2, "sha256": ""}'])
def test_a_damaged_record_counts_for_nothing(file: Path, hashed: list[Path], record: str) -> None:
    (file.parent / "m.gguf.verified.json").write_text(record)
    verify(declared(file), file)
    assert hashed == [file]


def test_a_record_that_can_not_be_written_is_no_error(file: Path, hashed: list[Path]) -> None:
    (file.parent / "m.gguf.verified.json").mkdir()
    verify(declared(file), file)
    verify(declared(file), file)
    assert len(hashed) == 2


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="can't be read: No such file"):
        verify(declared(tmp_path / "m.gguf"), tmp_path / "m.gguf")


def test_locate_believes_a_download_that_matches(tmp_path: Path, hashed: list[Path]) -> None:
    target = target_path(web(), tmp_path)
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert locate(web(), tmp_path) == locate(web(), tmp_path) == target
    assert hashed == [target], "the first time, for there was no record"
    assert locate(web(sha256="0" * 64), tmp_path) is None


def test_locate_does_not_believe_a_damaged_download(tmp_path: Path) -> None:
    target = target_path(web(sha256=None), tmp_path)
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert locate(web(), tmp_path) == target, "which leaves a record"
    target.write_bytes(CONTENT[:1000])
    assert locate(web(sha256=None), tmp_path) is None
