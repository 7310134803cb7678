"""Saved states in a directory, within a bound of bytes: they outlive the process. A thread of its own does the work."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ixmodal.engine import state_file
from ixmodal.engine.fingerprint import fingerprint
from ixmodal.engine.messages import Load
from ixmodal.engine.saved_states import SavedState
from ixmodal.engine.slots import Tokens, common_prefix

_LONGEST_WAIT = 5.0
"""Seconds that a prompt waits for the disk before it is read as if nothing had been saved."""
_STALE = 60.0
"""Seconds without a write after which what was begun is taken to be abandoned."""


def open_files(load: Load) -> StateFiles | None:
    """The directory that a load names; None if it names none."""
    if load.disk_cache_directory is None or not load.disk_cache_bytes:
        return None
    return StateFiles(Path(load.disk_cache_directory), load.disk_cache_bytes, lambda: fingerprint(load))


class Errand:
    """Work for the thread; `over` once it is done, or has taken too long to wait for."""

    def __init__(self) -> None:
        self.result: SavedState | None = None
        self.done = threading.Event()
        self._patience = time.monotonic() + _LONGEST_WAIT

    @property
    def over(self) -> bool:
        """True once there is nothing to wait for any more."""
        return self.done.is_set() or self.expired

    @property
    def expired(self) -> bool:
        """True once nobody waits any more, done or not."""
        return time.monotonic() > self._patience


class StateFiles:
    """What the directory holds for one model as it is loaded. Every method but `flush` returns at once."""

    def __init__(self, directory: Path, max_bytes: int, fingerprint: Callable[[], bytes]) -> None:
        """Begin to look through the directory. `fingerprint` names model, library and context; the thread calls it."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._find_fingerprint = fingerprint
        self._fingerprint = b""
        self._tokens: dict[str, Tokens] = {}
        self._lock = threading.Lock()
        self._queued: dict[str, SavedState] = {}
        self._errands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._has_complained = False
        self.scan = self._send(self._scan)
        threading.Thread(target=self._work, name="state files", daemon=True).start()

    def find(self, prompt: Tokens, most: int) -> tuple[str | None, int]:
        """The file that shares the longest prefix with a prompt, and how long that is: `most` tokens at most."""
        with self._lock:
            known = list(self._tokens.items())
        best, shared = None, 0
        for name, tokens in known:
            if (count := min(common_prefix(tokens, prompt), most)) > shared:
                best, shared = name, count
        return best, shared

    def fetch(self, name: str) -> Errand:
        """Read a file. Its errand's result is None if it is gone or damaged; it is then no longer found."""
        return self._send(lambda: self._read(name))

    def put(self, saved: SavedState) -> None:
        """Write a state, unless it has left memory before the thread comes to it."""
        name = state_file.name_of(b"", saved.tokens)
        with self._lock:
            self._queued[name] = saved
        self._send(lambda: self._write_queued(name))

    def forget_queued(self, kept: list[SavedState]) -> None:
        """Write only what is among `kept`: nothing waits for the disk that memory has no room for."""
        with self._lock:
            self._queued = {n: saved for n, saved in self._queued.items() if any(saved is other for other in kept)}

    def covers(self, tokens: Tokens) -> bool:
        """Whether a file begins with all of these."""
        with self._lock:
            return any(held[: len(tokens)] == tokens for held in self._tokens.values())

    def flush(self, deadline: float) -> None:
        """Write what is queued, until `deadline` (of `time.monotonic`)."""
        last = self._send(lambda: None)
        last.done.wait(max(0.0, deadline - time.monotonic()))

    def _send(self, work: Callable[[], SavedState | None]) -> Errand:
        errand = Errand()

        def do() -> None:
            try:
                errand.result = work()
            finally:
                errand.done.set()

        self._errands.put(do)
        return errand

    def _work(self) -> None:
        while True:
            try:
                self._errands.get()()
            except (OSError, ValueError, MemoryError) as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        # Once: a full disk would repeat it with every prompt.
        if not self._has_complained:
            self._has_complained = True
            sys.stderr.write(f"saved prompts in {self._directory}: {error}\n")

    def _scan(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fingerprint = self._find_fingerprint()
        for path in self._directory.iterdir():
            if path.name.endswith(state_file.TEMPORARY):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink(missing_ok=True)
            elif path.name.endswith(state_file.SUFFIX):
                self._learn(path)
        self._make_room(0)

    def _learn(self, path: Path) -> None:
        try:
            tokens = state_file.read_tokens(path, self._fingerprint)
        except ValueError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            return
        if tokens is not None:
            with self._lock:
                self._tokens[path.name] = tokens

    def _read(self, name: str) -> SavedState | None:
        path = self._directory / name
        try:
            saved = state_file.read(path, self._fingerprint)
            path.touch()  # the order in which files make room is that of their use
            return saved
        except (OSError, ValueError, MemoryError) as error:
            self._forget(name)
            if isinstance(error, ValueError):
                path.unlink(missing_ok=True)
            return None

    def _write_queued(self, queued: str) -> None:
        with self._lock:
            saved = self._queued.pop(queued, None)
        if saved is None or not self._fingerprint:
            return
        size, name = state_file.size_of(saved), state_file.name_of(self._fingerprint, saved.tokens)
        if size > self._max_bytes:
            return
        with self._lock:
            covered = [n for n, held in self._tokens.items() if saved.tokens[: len(held)] == held and n != name]
        for old in covered:
            self._forget(old)
            (self._directory / old).unlink(missing_ok=True)
        self._make_room(size)
        state_file.write(self._directory / name, self._fingerprint, saved)
        with self._lock:
            self._tokens[name] = saved.tokens

    def _make_room(self, size: int) -> None:
        """Delete files, those unused longest first, of whichever model, until `size` more bytes fit."""
        found = []
        for path in self._directory.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:  # another process shares the directory
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(length for _, length, _ in found)
        for _, length, path in sorted(found):
            if total + size <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            self._forget(path.name)
            total -= length

    def _forget(self, name: str) -> None:
        with self._lock:
            self._tokens.pop(name, None)
