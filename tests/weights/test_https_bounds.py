"""What bounds an https download: redirects, time, the disk, and what may be told of it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from ixmodal.errors import WeightsError
from ixmodal.weights import fetch
from ixmodal.weights.part import Part
from tests.weights.conftest import CONTENT, URL, left_below, web

WHOLE = httpx.Response(200, headers={"ETag": '"v1"'}, content=CONTENT)


def test_redirects_are_followed(respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    respx_mock.get(URL).mock(httpx.Response(302, headers={"Location": "https://store.example/1?sig=s3cr3t"}))
    respx_mock.get("https://store.example/1").mock(WHOLE)
    assert fetch(web(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["http://store.example/1", "ftp://store.example/1", "file:///etc/passwd"])
def test_redirects_stay_on_https(target: str, route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(302, headers={"Location": target}))
    with pytest.raises(WeightsError, match=r"a redirect leads to .*, not to https"):
        fetch(web(), tmp_path)


def test_redirects_in_circles_end(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(302, headers={"Location": URL}))
    with pytest.raises(WeightsError, match="redirects in circles"):
        fetch(web(), tmp_path)


def test_the_time_limit_holds_while_waiting(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(503, headers={"Retry-After": "60"}))
    with pytest.raises(WeightsError, match=r"was not downloaded within 0\.2 s; .* limits\.download_timeout"):
        fetch(web(), tmp_path, timeout=0.2)


def test_the_time_limit_holds_while_bytes_trickle(route: respx.Route, tmp_path: Path) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"GGUF"

    route.mock(httpx.Response(200, headers={"ETag": '"v1"'}, stream=Endless()))
    with pytest.raises(WeightsError, match=r"was not downloaded within 0\.2 s"):
        fetch(web(), tmp_path, timeout=0.2)


def test_room_on_the_disk_is_asked_for_ahead(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(200, headers={"Content-Length": str(10**17)}, content=b"GGUF"))
    with pytest.raises(WeightsError, match=r"needs 100,000,000,000,000,000 bytes, but .* free some space"):
        fetch(web(), tmp_path)


@pytest.mark.parametrize("at_write", [1, 3])
def test_a_full_disk_leaves_nothing(
    at_write: int, route: respx.Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []

    def write(part: Part, chunk: bytes) -> Any:
        writes.append(chunk)
        if len(writes) == at_write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(part, chunk)

    original = Part.write
    monkeypatch.setattr(Part, "write", write)
    route.mock(httpx.Response(200, headers={"ETag": '"v1"'}, content=iter([CONTENT[i::4] for i in range(4)])))
    with pytest.raises(WeightsError, match=r"the disk is full: .*small\.gguf can't be written; free some space"):
        fetch(web(), tmp_path)
    assert left_below(tmp_path) == set()


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "https").write_text("in the way")
    with pytest.raises(
        WeightsError, match="can't be used: Not a directory; check the path, or set IXMODAL_WEIGHTS_DIR"
    ):
        fetch(web(), tmp_path)


def test_no_secret_is_told(
    respx_mock: respx.MockRouter, tmp_path: Path, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    secret = "https://user:pa55word@files.example/models/small.gguf?X-Signature=s3cr3t"
    route = respx_mock.get(host="files.example")
    told: list[str] = []
    for answer in (httpx.Response(404), httpx.Response(500), httpx.ConnectError("refused"), WHOLE):
        route.side_effect = [answer] * 6
        with caplog.at_level(logging.DEBUG), pytest.raises(WeightsError) as error:
            fetch(web(secret, sha256="0" * 64), tmp_path)
        told.append(str(error.value))
    assert all("https://files.example/models/small.gguf" in text for text in told)
    everything = caplog.text + "".join(told)
    assert "HTTP Request: GET https://files.example/models/small.gguf" in everything
    assert "s3cr3t" not in everything
    assert "pa55word" not in everything
