"""Weights: from a declared model to a verified local file.

`locate` says where the file is, `fetch` sees to it that it is there, `verify` holds it against the declared sum.
Below `weights_directory`, `hf/<owner>/<repo>/<revision>/<file>` and `https/<host>/<hash of the URL>/<name>` hold what
was downloaded. A file takes its final name only once it is whole and verified; all else beside it may be deleted.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ixmodal.errors import WeightsError
from ixmodal.spec import App, Model
from ixmodal.spec.sources import WEIGHTS_VARIABLE
from ixmodal.weights import checksums
from ixmodal.weights.checksums import verify
from ixmodal.weights.download import download
from ixmodal.weights.job import Job, Progress
from ixmodal.weights.places import local_path, merged_path, parts_of, target_path

__all__ = ["Progress", "fetch", "locate", "verify", "weights_directory"]

logger = logging.getLogger("ixmodal")
_LOOK_EVERY = 0.5
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def weights_directory(spec: App, environ: Mapping[str, str] | None = None) -> Path:
    """Where the spec's downloaded weights live on this machine.

    Args:
        spec: the deployment; its volume is taken where it is mounted and writable.
        environ: the environment; unset: this process's. `IXMODAL_WEIGHTS_DIR` goes before all else.
    """
    environ = os.environ if environ is None else environ
    if directory := environ.get(WEIGHTS_VARIABLE):
        return Path(directory).expanduser().absolute()
    if spec.weights and os.access(spec.weights.mount, os.W_OK | os.X_OK):
        return Path(spec.weights.mount)
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ixmodal" / (spec.weights.name if spec.weights else spec.name)


def locate(model: Model, directory: Path) -> Path | None:
    """Find the weights without any network.

    Args:
        model: the declared model.
        directory: where downloads live, see `weights_directory`.

    Returns:
        The file; None if it has yet to be downloaded, or is there but not as declared. A download without a record
        of its checksum is hashed, which takes seconds a gigabyte; `file://` and `package://` are never hashed here.

    Raises:
        WeightsError: a `file://` or `package://` source that does not exist.
        UnsupportedModelError: a split model of which another part than the first is named, or which lies here.
    """
    parts_of(model)  # refuses what can't be merged here
    if path := local_path(model):
        return path
    target = _target(model, directory)
    try:
        return target if target.is_file() and checksums.is_intact(model, target) else None
    except OSError as error:
        raise _unusable(target, error) from None


def fetch(
    model: Model,
    directory: Path,
    progress: Progress | None = None,
    *,
    timeout: float = 3600,
    on_wait: Callable[[Path], None] | None = None,
) -> Path:
    """Return the verified weights, after downloading them where needed. Blocks; safe in several processes at once.

    Args:
        model: the declared model.
        directory: where downloads live, see `weights_directory`.
        progress: called with the bytes that are there and the bytes in all (None: unknown), from any thread.
        timeout: seconds that all of it may take, waiting for another process included.
        on_wait: called with the file's place once another process is found to be downloading it; unset: it is logged.

    Raises:
        WeightsError: the file can't be had, or is not what the spec says; nothing wrong is left in its place.
        UnsupportedModelError: a split model of which another part than the first is named, or which lies here.
    """
    if found := locate(model, directory):
        if local_path(model):
            verify(model, found)
        return found
    job = Job(model, _target(model, directory), timeout, progress)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(job, on_wait or _tell_waiting):
            return locate(model, directory) or download(job)
    except OSError as error:
        if error.errno in _DISK_FULL:
            job.discard()
        raise _unusable(job.target, error) from None


@contextmanager
def _alone(job: Job, on_wait: Callable[[Path], None]) -> Iterator[None]:
    """Hold the file's lock. The system takes it from a process that dies, however that happens."""
    lock = FileLock(job.beside(".lock"))
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked:
            on_wait(job.target)
        while not lock.is_locked:
            job.progress(job.arrived, None)  # how far the other one is
            with suppress(Timeout):
                lock.acquire(timeout=min(job.seconds_left_to_wait(), _LOOK_EVERY))
        yield
    finally:
        lock.release()


def _tell_waiting(target: Path) -> None:
    logger.info("another process is downloading %s; waiting for it", target)


def _target(model: Model, directory: Path) -> Path:
    path = target_path(model, directory)
    return merged_path(path) if model.split else path


def _unusable(path: Path, error: OSError) -> WeightsError:
    if error.errno in _DISK_FULL:
        return WeightsError(f"the disk is full: {path} can't be written; free some space and try again")
    reason = error.strerror or type(error).__name__
    return WeightsError(
        f"{path} can't be used: {reason}; check the path, or set {WEIGHTS_VARIABLE} to another directory"
    )
