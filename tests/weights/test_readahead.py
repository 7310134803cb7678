from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ixmodal.weights import readahead
from ixmodal.weights.readahead import ReadAhead, read_file

BLOCK = 4 * 1024 * 1024


def write(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 3])
@pytest.mark.parametrize("readers", [1, 4])
def test_where_the_system_does_not_tell_what_is_cached_all_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, readers: int
) -> None:
    monkeypatch.setattr(readahead, "_NOWAIT", None)
    assert read_file(write(tmp_path / "file", size), size, readers) == size


@pytest.mark.parametrize(
    ("error", "expected"), [(None, 0), (BlockingIOError(11, "not cached"), BLOCK + 3), (OSError(95, "unknown"), 0)]
)
def test_blocks_in_the_page_cache_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None, expected: int
) -> None:
    preadv, size = os.preadv, 3 * BLOCK + 3

    def cached_but_for_two(descriptor: int, buffers: Sequence[Any], at: int, flags: int = 0) -> int:
        if flags and error and (error.errno == 95 or BLOCK <= at < 2 * BLOCK or at >= 3 * BLOCK):
            raise error
        return preadv(descriptor, buffers, at)

    monkeypatch.setattr(readahead, "_NOWAIT", 8)
    monkeypatch.setattr("ixmodal.weights.readahead.os.preadv", cached_but_for_two)
    assert read_file(write(tmp_path / "file", size), size) == (expected if not error or error.errno == 11 else size)


def test_a_disk_that_fails_is_told_to_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    path = write(tmp_path / "file", BLOCK)
    monkeypatch.setattr("ixmodal.weights.readahead.os.preadv", fail)
    with pytest.raises(OSError, match="Input/output"):
        read_file(path, BLOCK)
    reading = ReadAhead()
    reading.begin(path, BLOCK)
    reading.wait(path)  # the thread ends in peace: the engine meets the same, and says it


def test_a_real_file_that_was_dropped_from_the_cache_is_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(2 * BLOCK))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        reading = ReadAhead()
        reading.begin(path, 2 * BLOCK)
        reading.wait(path)
        assert read_file(path, 2 * BLOCK) in (0, 2 * BLOCK)  # the latter on file systems that don't tell


class Slow:
    """Takes the place of `read_file`: notes what is read, and is done when the test says so."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.go = threading.Event()

    def __call__(self, path: Path, _size: int) -> int:
        self.read.append(path.name)
        assert self.go.wait(10)
        return 0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(readahead, "read_file", slow)
    return slow


def test_a_file_is_read_once_at_a_time_and_after_the_others(tmp_path: Path, slow: Slow) -> None:
    first, second = write(tmp_path / "first", 10), write(tmp_path / "second", 10)
    reading = ReadAhead()
    for path in (first, second, first, second):
        reading.begin(path, 20)
    assert slow.read in ([], ["first"])
    slow.go.set()
    reading.wait(first)
    reading.wait(second)
    assert slow.read == ["first", "second"]
    reading.begin(first, 20)
    reading.wait(first)
    assert slow.read == ["first", "second", "first"]


def test_what_does_not_fit_beside_what_is_being_read_is_left_to_the_system(tmp_path: Path, slow: Slow) -> None:
    first, second = write(tmp_path / "first", 10), write(tmp_path / "second", 10)
    reading = ReadAhead()
    reading.begin(second, 9)
    reading.begin(first, 19)
    reading.begin(second, 19)
    reading.begin(tmp_path / "absent", 1000)
    slow.go.set()
    reading.wait(first)
    reading.wait(second)
    assert slow.read == ["first"]
