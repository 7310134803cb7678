"""`hf://` downloads: huggingface_hub finds the file, so that its endpoint, token and settings hold as anywhere."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import huggingface_hub
from huggingface_hub import constants, errors

from ixmodal.errors import WeightsError
from ixmodal.weights.checksums import hash_file, mismatch
from ixmodal.weights.https import Remote, stream
from ixmodal.weights.job import Job
from ixmodal.weights.quiet import hide_secrets

_LOGGERS = ("httpx2", "huggingface_hub.file_download", "huggingface_hub.utils._http")
T = TypeVar("T")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Found:
    """A file as the hub describes it: `url` names the commit, `sha256` is None for a file outside its large storage."""

    url: str
    commit: str | None
    etag: str | None
    size: int
    sha256: str | None


def pull(job: Job) -> str:
    """Download into `job.part` and return its SHA-256 sum.

    The hub says what the file is; its bytes are streamed as those of any other address, because huggingface_hub goes
    on with no download that another process began. What it serves over its own protocol only is left to it.

    Raises:
        WeightsError: no such file, no access, no network, or another file than the spec or the hub says.
    """
    hide_secrets(*_LOGGERS)
    try:
        found = _within(job, lambda: _find(job))
        if found.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            sha256 = _by_library(job, found)
        else:
            sha256 = stream(job, _remote(found))
    except WeightsError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise WeightsError(f"{job.name} can't be downloaded: {_explain(job, error)}") from None
    if found.sha256 not in (None, sha256):
        job.discard()
        raise WeightsError(
            f"{job.name} was damaged on its way: sha256 {sha256}, the hub says {found.sha256}; try again"
        )
    return sha256


def _find(job: Job) -> _Found:
    repo, file = job.model.source.removeprefix("hf://"), job.model.file or ""
    url = huggingface_hub.hf_hub_url(repo, file, revision=job.model.revision)
    remote = huggingface_hub.get_hf_file_metadata(url, retry_on_errors=True)
    stated = remote.etag if remote.etag and _SHA256.fullmatch(remote.etag) else None
    if stated and job.model.sha256 not in (None, stated):
        raise mismatch(job.name, stated, str(job.model.sha256))  # known before the first byte
    job.reserve((remote.size or 0) - job.arrived)
    if remote.commit_hash:
        url = huggingface_hub.hf_hub_url(repo, file, revision=remote.commit_hash)
    return _Found(url, remote.commit_hash, remote.etag, remote.size or 0, stated)


def _remote(found: _Found) -> Remote:
    # A commit's file never changes, so its sum is a better name for the bytes than the ETag of whoever stores them.
    version = found.sha256 or (f"{found.commit}:{found.etag}" if found.commit and found.etag else None)
    schemes = ("https",) if found.url.startswith("https:") else ("https", "http")  # as HF_ENDPOINT says
    token = huggingface_hub.get_token()
    return Remote(found.url, {"Authorization": f"Bearer {token}"} if token else {}, schemes, version)


def _within(job: Job, work: Callable[[], T]) -> T:
    """Work in a thread that is left behind at the time limit, for the library's own waits have no common bound."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised again where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name="ixmodal-hub", daemon=True).start()
    wait([future], timeout=job.seconds_left())
    if not future.done():
        raise job.too_late()
    return future.result()


def _by_library(job: Job, found: _Found) -> str:
    staging = job.beside(".hub")
    shutil.rmtree(staging, ignore_errors=True)  # what a killed process left can't be gone on with

    def download() -> Path:
        path = huggingface_hub.hf_hub_download(
            job.model.source.removeprefix("hf://"),
            job.model.file or "",
            revision=found.commit or job.model.revision,
            local_dir=staging,
            tqdm_class=_progress_bar(job, found.size),
        )
        return Path(path)

    try:
        _within(job, download).replace(job.part)
        return hash_file(job.part)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _progress_bar(job: Job, size: int | None) -> Any:
    class Bar:
        """What huggingface_hub asks of a tqdm: it tells the job instead of drawing."""

        total: int | None = size

        def __init__(self, initial: int = 0, **settings: object) -> None:
            self.n = initial

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            self.n += int(count or 0)
            job.progress(self.n, size)
            job.seconds_left()

        def update_transfer(self, count: float) -> None:
            """Bytes on the wire, which may be fewer than in the file."""

        def set_postfix_str(self, text: str, refresh: bool = True) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

    return Bar


def _explain(job: Job, error: Exception) -> str:
    revision = job.model.revision or "main"
    match error:
        case errors.GatedRepoError():
            return "access is by permission; accept the model's terms on the hub and set HF_TOKEN to a token of yours"
        case errors.RepositoryNotFoundError():
            return "there is no such repository, or it is private; correct the source, or set HF_TOKEN"
        case errors.RevisionNotFoundError():
            return f"the repository has no revision {revision}; correct `revision`"
        case errors.RemoteEntryNotFoundError():
            return f"the repository has no such file at revision {revision}; correct `file`"
        case errors.HFValidationError():
            return "that is no valid repository name; correct the source"
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE forbids the network; unset it, or bring the file here another way"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"the hub refuses access ({error.response.status_code}); check HF_TOKEN and what it may read"
        case errors.HfHubHTTPError():
            return f"the hub answers {error.response.status_code}; try again later"
        case _:
            return f"the hub can't be reached or broke off ({type(error).__name__}); check the network and HF_ENDPOINT"
