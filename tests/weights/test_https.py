from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import respx

from ixmodal.errors import WeightsError
from ixmodal.weights import fetch, locate
from ixmodal.weights.part import Part
from ixmodal.weights.places import target_path
from tests.weights.conftest import CONTENT, SHA256, left_below, web

HALF = len(CONTENT) // 2
WHOLE = httpx.Response(200, headers={"ETag": '"v1"'}, content=CONTENT)
DONE = {"small.gguf", "small.gguf.verified.json"}


def cut(content: bytes = CONTENT, at: int = HALF, etag: str | None = '"v1"') -> httpx.Response:
    """A 200 whose connection breaks after `at` bytes."""

    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield content[:at]
            raise httpx.ReadError("connection reset")

    headers = {"Content-Length": str(len(content))} | ({"ETag": etag} if etag else {})
    return httpx.Response(200, headers=headers, stream=Broken())


def rest(start: int = HALF, content: bytes = CONTENT, **headers: str) -> httpx.Response:
    """A 206 with the bytes from `start` on."""
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return httpx.Response(206, headers={"ETag": '"v1"', "Content-Range": span, **headers}, content=content[start:])


def leave_half(directory: Path, content: bytes = CONTENT, etag: str = '"v1"') -> None:
    """What a process that was killed halfway leaves."""
    part = target_path(web(), directory)
    part.parent.mkdir(parents=True)
    with Part(part.with_name("small.gguf.part")) as under_way:
        under_way.restart(etag)
        under_way.write(content[:HALF])


def test_a_fresh_download(route: respx.Route, tmp_path: Path) -> None:
    route.mock(WHOLE)
    seen: list[tuple[int, int | None]] = []
    path = fetch(web(), tmp_path, lambda done, total: seen.append((done, total)))
    assert path == target_path(web(), tmp_path) == locate(web(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left_below(tmp_path) == DONE
    request = route.calls.last.request
    assert (request.headers["Accept-Encoding"], request.headers.get("Range")) == ("identity", None)


def test_what_is_there_is_not_fetched_again(route: respx.Route, tmp_path: Path) -> None:
    route.mock(WHOLE)
    assert fetch(web(), tmp_path) == fetch(web(sha256=None), tmp_path)
    assert route.call_count == 1


def test_a_damaged_download_is_fetched_again(route: respx.Route, tmp_path: Path) -> None:
    route.mock(WHOLE)
    fetch(web(), tmp_path).write_bytes(b"GGUF")
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert route.call_count == 2


def test_a_cut_is_gone_on_from(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    route.side_effect = [cut(), rest()]
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    resumed = route.calls.last.request.headers
    assert (resumed["Range"], resumed["If-Range"]) == (f"bytes={HALF}-", '"v1"')
    assert left_below(tmp_path) == DONE


def test_a_file_that_keeps_being_cut_arrives_as_long_as_it_grows(
    route: respx.Route, tmp_path: Path, pauses: list[float]
) -> None:
    def piece(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        headers = {"ETag": '"v1"', "Content-Length": str(len(CONTENT) - start), "Content-Range": span}
        return httpx.Response(206 if start else 200, headers=headers, content=CONTENT[start : start + 25_000])

    route.side_effect = piece
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert route.call_count == 21


def test_a_later_process_goes_on(route: respx.Route, tmp_path: Path) -> None:
    leave_half(tmp_path)
    route.mock(rest())
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert route.calls.last.request.headers["Range"] == f"bytes={HALF}-"


def test_a_file_that_changed_meanwhile_starts_afresh(route: respx.Route, tmp_path: Path) -> None:
    leave_half(tmp_path, b"another version" * 100_000, '"v0"')
    route.mock(WHOLE)
    assert fetch(web(sha256=None), tmp_path).read_bytes() == CONTENT
    assert route.calls.last.request.headers["If-Range"] == '"v0"'


@pytest.mark.parametrize(
    "wrong",
    [
        rest(ETag='"v2"'),
        rest(HALF - 7),
        httpx.Response(206, content=b"x"),
        httpx.Response(416, headers={"ETag": '"v2"'}),
    ],
    ids=["another version", "another place", "no place", "beyond the end"],
)
def test_a_wrong_part_is_not_appended(
    wrong: httpx.Response, route: respx.Route, tmp_path: Path, pauses: list[float]
) -> None:
    leave_half(tmp_path)
    route.side_effect = [wrong, WHOLE]
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert "Range" not in route.calls.last.request.headers


def test_a_part_that_was_whole_already_is_settled(route: respx.Route, tmp_path: Path) -> None:
    leave_half(tmp_path)
    path = target_path(web(), tmp_path).with_name("small.gguf.part")
    path.write_bytes(CONTENT)
    route.mock(httpx.Response(416, headers={"Content-Range": f"bytes */{len(CONTENT)}"}))
    assert fetch(web(), tmp_path).read_bytes() == CONTENT


def test_without_a_validator_nothing_is_resumed(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    weak = httpx.Response(200, headers={"ETag": 'W/"v1"'}, content=CONTENT)
    route.side_effect = [cut(etag=None), cut(etag='W/"v1"'), weak]
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert all("Range" not in call.request.headers for call in route.calls)


def test_the_date_of_change_validates_too(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    first = cut(etag=None)
    first.headers["Last-Modified"] = date
    second = rest()
    del second.headers["ETag"]
    route.side_effect = [first, second]
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert route.calls.last.request.headers["If-Range"] == date


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when_to_come_back(
    status: int, route: respx.Route, tmp_path: Path, pauses: list[float]
) -> None:
    in_a_while = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    answers = [httpx.Response(status, headers={"Retry-After": after}) for after in ("7", in_a_while, "99999", "soon")]
    route.side_effect = [*answers, WHOLE]
    assert fetch(web(), tmp_path).read_bytes() == CONTENT
    assert pauses == [7, pytest.approx(59, abs=3), 300, pytest.approx(4.5, abs=0.6)]


def test_pauses_grow_until_it_gives_up(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    route.mock(side_effect=httpx.ConnectError("Name or service not known"))
    with pytest.raises(WeightsError) as error:
        fetch(web(), tmp_path)
    assert str(error.value) == (
        "https://files.example/models/small.gguf can't be downloaded: "
        "Name or service not known (ConnectError); try again later"
    )
    assert route.call_count == 6
    assert all(0.5 * 2**n <= pause <= 0.5 * 2**n + 1 for n, pause in enumerate(pauses)), "doubled, with some jitter"
    assert len({pause % 0.5 for pause in pauses}) > 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "credentials"), (403, "signed"), (404, "no such file"), (410, "gone"), (400, "correct")],
)
def test_a_refusal_is_not_asked_again(
    status: int, advice: str, route: respx.Route, tmp_path: Path, pauses: list[float]
) -> None:
    route.mock(httpx.Response(status))
    with pytest.raises(WeightsError, match=rf"small.gguf can't be downloaded: the server answers {status} .*{advice}"):
        fetch(web(), tmp_path)
    assert route.call_count == 1


def test_a_refusal_in_the_middle_keeps_what_arrived(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    route.side_effect = [cut(), httpx.Response(403)]
    with pytest.raises(WeightsError, match="403"):
        fetch(web(), tmp_path)
    assert left_below(tmp_path) == {"small.gguf.part", "small.gguf.part.json"}


def test_a_wrong_sum_leaves_nothing(route: respx.Route, tmp_path: Path) -> None:
    route.mock(WHOLE)
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, the spec says {'0' * 64}; "):
        fetch(web(sha256="0" * 64), tmp_path)
    assert left_below(tmp_path) == set()


def test_a_login_page_is_not_weights(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(200, content=b"<!DOCTYPE html><p>Please log in"))
    with pytest.raises(WeightsError, match="is not a GGUF file: it starts with b'<!DOCTYPE html>"):
        fetch(web(sha256=None), tmp_path)
    assert left_below(tmp_path) == set()


def test_too_short_is_tried_again(route: respx.Route, tmp_path: Path, pauses: list[float]) -> None:
    short = httpx.Response(200, headers={"Content-Length": str(len(CONTENT) + 1)}, content=CONTENT)
    route.mock(short)
    with pytest.raises(WeightsError, match=r"the connection was cut after 512,004 of 512,005 bytes"):
        fetch(web(), tmp_path)
    assert route.call_count == 12, "once more, for the first six had brought something"


def test_too_long_is_refused(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(200, headers={"Content-Length": "1000"}, content=CONTENT))
    with pytest.raises(WeightsError, match="is longer than the server says"):
        fetch(web(), tmp_path)
    assert locate(web(), tmp_path) is None


def test_compressed_answers_are_refused(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"x")))
    with pytest.raises(WeightsError, match="is sent compressed"):
        fetch(web(), tmp_path)


def test_without_a_length_the_total_is_unknown(route: respx.Route, tmp_path: Path) -> None:
    route.mock(httpx.Response(200, content=iter([CONTENT[:HALF], CONTENT[HALF:]])))
    seen: list[tuple[int, int | None]] = []
    fetch(web(), tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(HALF, None), (len(CONTENT), None)]
