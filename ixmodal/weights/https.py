"""Downloads over HTTP: resumed where they were cut, retried with patience, never past the time limit."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from ixmodal.errors import WeightsError
from ixmodal.weights.job import Job
from ixmodal.weights.part import Part
from ixmodal.weights.quiet import hide_secrets

_ATTEMPTS = 6
_MAX_PAUSE = 300.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACK_OFF = wait_exponential(multiplier=0.5, max=30) + wait_random(0, 1)
_ADVICE = {
    401: "it needs credentials; correct the source",
    403: "access is refused, or a signed address has expired; correct the source",
    404: "there is no such file; correct the source",
    410: "the file is gone; correct the source",
}


@dataclass(frozen=True)
class Remote:
    """Where a file is streamed from. `version` names its bytes where that is known ahead of the server's own ETag."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    schemes: tuple[str, ...] = ("https",)
    version: str | None = None


class _InterruptedError(Exception):
    """An attempt failed in a way that another one may mend."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def pull(job: Job) -> str:
    """Download an `https://` source into `job.part` and return its SHA-256 sum. Raises as `stream` does."""
    return stream(job, Remote(job.model.source))


def stream(job: Job, remote: Remote) -> str:
    """Download into `job.part`, from where an earlier process was cut off, and return the SHA-256 sum.

    Raises:
        WeightsError: refused, gone, or still failing after several attempts without a byte of progress.
    """
    hide_secrets("httpx")
    client = httpx.Client(
        headers={**remote.headers, "Accept-Encoding": "identity"},  # ranges and sums are of the file itself
        follow_redirects=True,
        max_redirects=10,
        event_hooks={"request": [lambda request: _check_scheme(request, remote)]},
    )
    with client, Part(job.part) as part:
        if remote.version not in (None, part.validator):
            part.restart(remote.version)
        while True:
            before = part.size
            try:
                _retrying(job)(_attempt, client, job, part, remote)
                return part.sha256
            except _InterruptedError as error:
                if part.size <= before:
                    raise WeightsError(f"{job.name} can't be downloaded: {error}; try again later") from None


def _retrying(job: Job) -> Retrying:
    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.pause if isinstance(error, _InterruptedError) else None
        return min(_BACK_OFF(state) if asked is None else asked, _MAX_PAUSE, job.seconds_left())

    return Retrying(
        retry=retry_if_exception_type(_InterruptedError), stop=stop_after_attempt(_ATTEMPTS), wait=pause, reraise=True
    )


def _attempt(client: httpx.Client, job: Job, part: Part, remote: Remote) -> None:
    left = job.seconds_left()
    timeout = httpx.Timeout(min(30, left), connect=min(15, left))
    try:
        with client.stream("GET", remote.url, headers=_resume(part, remote), timeout=timeout) as response:
            if not _opens(response, job, part, remote):
                return
            job.reserve((part.total or part.size) - part.size)
            for chunk in response.iter_raw():
                part.write(chunk)
                job.progress(part.size, part.total)
                job.seconds_left()
    except httpx.InvalidURL:
        raise WeightsError(f"{job.name} is no valid URL, or leads to one that is not; correct the source") from None
    except httpx.TooManyRedirects:
        raise WeightsError(f"{job.name} redirects in circles; correct the source") from None
    except httpx.TransportError as error:
        raise _InterruptedError(_reason(error)) from None
    finally:
        part.flush()
    _check_length(job, part)


def _resume(part: Part, remote: Remote) -> dict[str, str]:
    if not part.size or part.validator is None:
        return {}
    wanted = {"Range": f"bytes={part.size}-"}
    return wanted if remote.version else {**wanted, "If-Range": part.validator}


def _opens(response: httpx.Response, job: Job, part: Part, remote: Remote) -> bool:
    """Judge the status line and headers. False: the part is whole already."""
    validator, length = remote.version or _validator(response), _number(response.headers.get("Content-Length"))
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(f"{job.name} is sent compressed, against the request; use another source")
    if response.status_code == 206:
        start, total = _content_range(response)
        if start != part.size or validator not in (None, part.validator):
            part.restart(remote.version)
            raise _InterruptedError("the server sent another part of the file than it was asked for")
        part.total = total
        return True
    if response.status_code == 200:
        part.restart(validator)
        part.total = length
        return True
    if response.status_code == 416 and part.size:
        if _content_range(response)[1] == part.size:
            return False
        part.restart(remote.version)
        raise _InterruptedError("the file has changed on the server")
    raise _refusal(response, job)


def _refusal(response: httpx.Response, job: Job) -> Exception:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in _TRANSIENT:
        return _InterruptedError(f"the server answers {status}", _retry_after(response))
    advice = _ADVICE.get(response.status_code, "correct the source")
    return WeightsError(f"{job.name} can't be downloaded: the server answers {status}; {advice}")


def _check_length(job: Job, part: Part) -> None:
    if part.total is None or part.size == part.total:
        return
    if part.size < part.total:
        raise _InterruptedError(f"the connection was cut after {part.size:,} of {part.total:,} bytes")
    part.restart(None)
    raise WeightsError(f"{job.name} is longer than the server says; use another source")


def _check_scheme(request: httpx.Request, remote: Remote) -> None:
    if request.url.scheme not in remote.schemes:
        raise WeightsError(
            f"a redirect leads to {request.url.scheme}://{request.url.host}, not to https; correct the source"
        )


def _validator(response: httpx.Response) -> str | None:
    """What identifies this version byte by byte: a strong ETag or else the date of change."""
    etag = response.headers.get("ETag", "W/")
    return etag if not etag.startswith("W/") else response.headers.get("Last-Modified") or None


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and size in all of `bytes 7-99/100` or `bytes */100`; None for what is not said."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (_number(match[1]), _number(match[2])) if match else (None, None)


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; the header holds seconds or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if (seconds := _number(text)) is not None:
        return float(seconds)
    with suppress(ValueError, TypeError):
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _reason(error: httpx.TransportError) -> str:
    return f"{error or 'no answer in time'} ({type(error).__name__})"
