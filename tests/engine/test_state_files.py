"""Saved states on disk: bounded, whole or not there, of use to the same model alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ixmodal.engine import state_file
from ixmodal.engine.fingerprint import fingerprint
from ixmodal.engine.messages import Load
from ixmodal.engine.saved_states import SavedState
from ixmodal.engine.slots import as_tokens
from ixmodal.engine.state_files import StateFiles
from tests.engine.helpers import PATIENCE

OURS, OTHERS = b"f" * 32, b"o" * 32


def state(start: int, count: int = 100, size: int = 1000) -> SavedState:
    return SavedState(as_tokens(range(start, start + count)), random.Random(start).randbytes(size))


def opened(directory: Path, max_bytes: int = 10_000_000, owner: bytes = OURS) -> StateFiles:
    files = StateFiles(directory, max_bytes, lambda: owner)
    assert files.scan.done.wait(PATIENCE)
    return files


def put(files: StateFiles, *states: SavedState) -> None:
    for saved in states:
        files.put(saved)
    files.flush(time.monotonic() + PATIENCE)


def fetched(files: StateFiles, saved: SavedState) -> SavedState | None:
    name, count = files.find(saved.tokens, len(saved.tokens))
    if name is None or count < len(saved.tokens):
        return None
    errand = files.fetch(name)
    assert errand.done.wait(PATIENCE)
    return errand.result


def total(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_what_is_written_is_read_in_another_life(tmp_path: Path) -> None:
    put(opened(tmp_path / "d"), state(1000), state(2000))
    again = opened(tmp_path / "d")
    assert fetched(again, state(2000)) == state(2000)
    name, count = again.find(as_tokens([*range(1000, 1050), 7]), 1000)
    assert (name is not None, count) == (True, 50)
    assert again.find(as_tokens([5, 6]), 1000) == (None, 0)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    put(opened(tmp_path / "d"), state(1000))
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "d").iterdir()] == [0o600]


def test_a_longer_state_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    files = opened(tmp_path)
    put(files, state(1000, 100), state(1000, 150))
    assert len(list(tmp_path.iterdir())) == 1
    assert files.covers(state(1000, 100).tokens)
    assert not files.covers(state(1000, 151).tokens)


def test_another_model_does_not_see_it_and_shares_the_bound(tmp_path: Path) -> None:
    put(opened(tmp_path), state(1000))
    other = opened(tmp_path, 2000, OTHERS)
    assert fetched(other, state(1000)) is None
    put(other, state(1000))
    assert len(list(tmp_path.iterdir())) == 1
    assert fetched(opened(tmp_path, 2000, OTHERS), state(1000)) == state(1000)


def test_the_bound_holds_and_what_was_unused_longest_goes(tmp_path: Path) -> None:
    files = opened(tmp_path, 5000)
    put(files, state(1000), state(2000), state(3000))
    assert fetched(files, state(1000)) == state(1000)
    for n in range(4, 8):
        put(files, state(1000 * n))
        assert total(tmp_path) <= 5000
        assert fetched(files, state(1000)) == state(1000)
    assert fetched(files, state(2000)) is None
    put(files, state(9000, size=6000))
    assert fetched(files, state(9000)) is None
    assert fetched(files, state(1000)) == state(1000)
    opened(tmp_path, 1500)
    assert total(tmp_path) <= 1500


@pytest.mark.parametrize("place", [0, 9, 45, 73, 81, 90, 300, 600, -1])
def test_a_damaged_file_is_deleted_and_never_handed_on(tmp_path: Path, place: int) -> None:
    put(opened(tmp_path), state(1000))
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[place] ^= 0x20
    path.write_bytes(data)
    files = opened(tmp_path)
    for start in (1000, 1001):  # a damaged token may be the one that is asked for
        assert fetched(files, state(start)) is None
    name, _ = files.find(state(1000).tokens, 100)
    if name:
        assert files.fetch(name).done.wait(PATIENCE)
    assert files.find(state(1000).tokens, 100) == (None, 0)
    put(files, state(1000))
    assert fetched(files, state(1000)) == state(1000)


@pytest.mark.parametrize("content", [b"", b"IXSTATE1", b"x" * 88, b"IXSTATE1" + b"\xff" * 200, bytes(100_000)], ids=len)
def test_what_is_no_state_is_deleted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.state").write_bytes(content)
    (tmp_path / "notes.txt").write_text("not ours")
    opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_truncated_files_are_deleted(tmp_path: Path) -> None:
    put(opened(tmp_path), state(1000))
    path = next(tmp_path.iterdir())
    data = path.read_bytes()
    for length in (10, 88, 200, len(data) - 1):
        path.write_bytes(data[:length])
        opened(tmp_path)
        assert not path.exists()


def test_a_file_that_vanishes_is_no_error(tmp_path: Path) -> None:
    files = opened(tmp_path)
    put(files, state(1000))
    next(tmp_path.iterdir()).unlink()
    assert fetched(files, state(1000)) is None
    assert files.find(state(1000).tokens, 100) == (None, 0)


def test_a_directory_that_cant_be_written_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    files = opened(tmp_path / "file" / "d")
    put(files, state(1000), state(2000))
    assert fetched(files, state(1000)) is None
    assert capfd.readouterr().err.count("\n") == 1


def test_what_has_left_memory_is_not_written(tmp_path: Path) -> None:
    files = opened(tmp_path)
    gate = files._send(lambda: time.sleep(0.05))
    kept, dropped = state(1000), state(2000)
    files.put(kept)
    files.put(dropped)
    files.forget_queued([kept])
    assert gate.done.wait(PATIENCE)
    files.flush(time.monotonic() + PATIENCE)
    assert fetched(files, kept) == kept
    assert fetched(files, dropped) is None


WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from tests.engine.test_state_files import opened, state
files, n = opened(Path(sys.argv[1]), 40_000_000), 0
while True:
    n += 1
    files.put(state(1000 * n, size=3_000_000))
    files.flush(time.monotonic() + 10)
    print(n, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_whole_files(tmp_path: Path) -> None:
    for round in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout
        for _ in range(3 + round):
            assert child.stdout.readline()
        time.sleep(0.002 * round)
        child.send_signal(signal.SIGKILL)
        child.wait(PATIENCE)
        child.stdout.close()
    for path in tmp_path.glob("*.part"):
        os.utime(path, (0, 0))
    files = opened(tmp_path, 40_000_000)
    assert not list(tmp_path.glob("*.part"))
    assert len(list(tmp_path.iterdir())) >= 5
    for n in range(1, len(list(tmp_path.iterdir())) + 1):
        assert fetched(files, state(1000 * n, size=3_000_000)) == state(1000 * n, size=3_000_000)


def test_a_fingerprint_is_of_the_file_and_of_how_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(random.Random(1).randbytes(3_000_000))
    os.utime(path, (5, 5))

    def of(**fields: object) -> bytes:
        load = {"backend": "llama_cpp", "path": str(path), "slots": 2, "batch_size": 64, "threads": 1, **fields}
        return fingerprint(Load(**load))  # type: ignore[arg-type]  # any fields

    found = of()
    assert found == of(batch_size=7, threads=3)
    others = [of(slots=3), of(cache_type="q8_0"), of(context_length=99), of(backend="ctransformers")]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (5, 5))
    others.append(of())
    os.utime(path, (6, 6))
    others.append(of())
    assert len({found, *others}) == 7


def test_names_are_of_the_tokens() -> None:
    names = {state_file.name_of(owner, as_tokens(ids)) for owner in (OURS, OTHERS) for ids in ([1], [1, 2], [2])}
    assert len(names) == 6
