from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.file_download import http_get

from ixmodal.errors import WeightsError
from ixmodal.weights import fetch, locate
from ixmodal.weights.job import Job
from ixmodal.weights.part import Part
from tests.support.hub import COMMIT, Hub, Repository
from tests.weights.conftest import CONTENT, FILE, REPO, SHA256, from_hub, left_below


def test_a_fresh_download(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch(from_hub(), tmp_path, lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "hf/owner/Small-GGUF/main" / FILE == locate(from_hub(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left_below(tmp_path) == {FILE, f"{FILE}.verified.json"}


def test_what_is_there_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    fetch(from_hub(), tmp_path)
    asked = len(hub.requests)
    assert fetch(from_hub(), tmp_path) == fetch(from_hub(sha256=None), tmp_path)
    assert len(hub.requests) == asked


def test_a_pinned_revision_and_a_folder(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[REPO].files["q4/a.gguf"] = CONTENT
    path = fetch(from_hub(revision=COMMIT, file="q4/a.gguf"), tmp_path)
    assert path == tmp_path / f"hf/{REPO}/{COMMIT}/q4/a.gguf"


def test_a_branch_that_moves_meanwhile_is_downloaded_as_it_was_when_asked(hub: Hub, tmp_path: Path) -> None:
    fetch(from_hub(), tmp_path)
    assert [r.path for r in hub.asked("HEAD", f"/{REPO}/resolve/")] == [f"/{REPO}/resolve/main/{FILE}"]
    assert [r.path for r in hub.asked("GET", f"/{REPO}/resolve/")] == [f"/{REPO}/resolve/{COMMIT}/{FILE}"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repo": "owner/nothing"}, "there is no such repository, or it is private"),
        ({"revision": "v9"}, "the repository has no revision v9"),
        ({"file": "none.gguf"}, "the repository has no such file at revision main"),
        ({"repo": "owner/-bad-"}, "no valid repository name"),
    ],
)
def test_what_does_not_exist_is_named(hub: Hub, tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    with pytest.raises(WeightsError, match=rf"^hf://owner/.*\.gguf can't be downloaded: .*{message}") as error:
        fetch(from_hub(**wrong), tmp_path)
    assert "\n" not in str(error.value)
    assert left_below(tmp_path) == set()


def test_a_gated_model_opens_to_its_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO].gated, hub.repositories[REPO].token = True, "hf_t0ken"
    for token in (None, "hf_wr0ng"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(WeightsError, match="accept the model's terms on the hub and set HF_TOKEN") as error:
            fetch(from_hub(), tmp_path)
        assert "hf_wr0ng" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "hf_t0ken")
    assert fetch(from_hub(), tmp_path).read_bytes() == CONTENT
    assert all("authorization" not in request.headers for request in hub.asked("GET", "/storage/"))


@pytest.mark.parametrize(
    ("status", "message"), [(403, "refuses access .403.; check HF_TOKEN"), (500, "answers 500; try")]
)
def test_other_refusals(hub: Hub, tmp_path: Path, pauses: list[float], status: int, message: str) -> None:
    hub.failing = status
    with pytest.raises(WeightsError, match=f"the hub {message}"):
        fetch(from_hub(), tmp_path)


def test_no_network(hub: Hub, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(
        WeightsError, match=r"the hub can't be reached or broke off \(ConnectError\); check the network"
    ):
        fetch(from_hub(), tmp_path)


def test_a_network_that_goes_down_meanwhile(hub: Hub, tmp_path: Path, pauses: list[float]) -> None:
    hub.cut_after = 0
    with pytest.raises(WeightsError, match=r"can't be downloaded: .*; try again later"):
        fetch(from_hub(), tmp_path)
    assert len(hub.asked("GET", "/storage/")) == 6


def test_offline_by_choice(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids the network; unset it"):
        fetch(from_hub(), tmp_path)


def test_another_file_than_declared_is_not_even_downloaded(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, the spec says {'0' * 64}"):
        fetch(from_hub(sha256="0" * 64), tmp_path)
    assert hub.asked("GET") == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_file_damaged_on_its_way_is_not_kept(hub: Hub, tmp_path: Path, sha256: str | None) -> None:
    hub.repositories[REPO] = Repository({FILE: b"GGUF, but damaged"}, sums={FILE: SHA256})
    damaged = hashlib.sha256(b"GGUF, but damaged").hexdigest()
    with pytest.raises(
        WeightsError, match=f"was damaged on its way: sha256 {damaged}, the hub says {SHA256}; try again"
    ):
        fetch(from_hub(sha256), tmp_path)
    assert left_below(tmp_path) == set()


def leave_half(directory: Path, version: str) -> int:
    """What a process that was killed halfway through another commit's file, or this one's, leaves."""
    job = Job(from_hub(), directory / f"hf/{REPO}/main/{FILE}", 1)
    job.part.parent.mkdir(parents=True)
    with Part(job.part) as part:
        part.restart(version)
        part.write(CONTENT[: len(CONTENT) // 2])
    return len(CONTENT) // 2


def test_a_later_process_goes_on(hub: Hub, tmp_path: Path) -> None:
    half = leave_half(tmp_path, SHA256)
    assert fetch(from_hub(), tmp_path).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in hub.asked("GET", "/storage/")] == [f"bytes={half}-"]
    assert left_below(tmp_path) == {FILE, f"{FILE}.verified.json"}


def test_the_half_of_another_file_is_not_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    leave_half(tmp_path, "f" * 64)
    assert fetch(from_hub(), tmp_path).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in hub.asked("GET", "/storage/")] == [None]


@pytest.fixture
def too_large_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file so large that the hub serves it over its own protocol only; here the library falls back to HTTP."""
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", len(CONTENT) - 1)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", _http_get_of_any_size)


def _http_get_of_any_size(*args: Any, **settings: Any) -> None:
    settings["expected_size"] = None
    http_get(*args, **settings)


@pytest.mark.usefixtures("too_large_for_http")
def test_the_largest_files_are_left_to_the_library(hub: Hub, tmp_path: Path) -> None:
    left = Job(from_hub(), tmp_path / f"hf/{REPO}/main/{FILE}", 1).beside(".hub")
    left.mkdir(parents=True)
    (left / "x.incomplete").write_bytes(CONTENT)
    seen: list[tuple[int, int | None]] = []
    fetch(from_hub(), tmp_path, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left_below(tmp_path) == {FILE, f"{FILE}.verified.json"}


@pytest.mark.usefixtures("too_large_for_http")
def test_the_time_limit_holds_for_the_library_too(hub: Hub, tmp_path: Path) -> None:
    hub.pause = 0.3
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"was not downloaded within 0\.5 s; .* limits\.download_timeout"):
        fetch(from_hub(), tmp_path, timeout=0.5)
    assert time.monotonic() - start < 2
    hub.pause = 0


def test_a_connection_that_is_cut_is_gone_on_from(hub: Hub, tmp_path: Path, pauses: list[float]) -> None:
    hub.cut_after = 200_000
    assert fetch(from_hub(), tmp_path).read_bytes() == CONTENT
    assert [r.headers.get("range") for r in hub.asked("GET", "/storage/")] == [
        None,
        "bytes=200000-",
        "bytes=400000-",
    ]


def test_the_time_limit_holds(hub: Hub, tmp_path: Path) -> None:
    hub.pause = 0.3
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"was not downloaded within 0\.5 s; .* limits\.download_timeout"):
        fetch(from_hub(), tmp_path, timeout=0.5)
    assert time.monotonic() - start < 2
    hub.pause = 0


def test_room_on_the_disk_is_asked_for_ahead(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000, "total": 2000}))
    with pytest.raises(WeightsError, match=r"needs 512,004 bytes, but .* has 1,000 free"):
        fetch(from_hub(), tmp_path)
    assert hub.asked("GET") == []


def test_the_signed_address_is_not_told(
    hub: Hub, tmp_path: Path, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    hub.cut_after = 200_000
    with caplog.at_level(logging.INFO):
        fetch(from_hub(), tmp_path)
    assert "/storage/" in caplog.text
    assert Hub.SIGNATURE not in caplog.text
