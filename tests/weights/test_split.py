"""Models that are split over several files: pulled part by part, merged, and kept as one file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
import respx

from ixmodal import Model
from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.inspect import inspect
from ixmodal.weights import fetch, locate
from tests.support.gguf_files import write_tiny
from tests.support.hub import Hub, Repository
from tests.weights.conftest import left_below

FILE = "m-00001-of-00003.gguf"
MERGED = {"m-of-00003.gguf", "m-of-00003.gguf.verified.json"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of the tiny model, by name."""
    room = tmp_path_factory.mktemp("split")
    write_tiny(room / "m.gguf", tensors_a_part=8)
    return {path.name: path.read_bytes() for path in sorted(room.glob("m-*.gguf"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny(tmp_path_factory.mktemp("whole") / "m.gguf").read_bytes()


@pytest.fixture
def repository(hub: Hub, parts: dict[str, bytes]) -> Repository:
    hub.repositories["owner/Split"] = Repository(dict(parts))
    return hub.repositories["owner/Split"]


def on_hub(*part_sha256: str) -> Model:
    return Model("m", source="hf://owner/Split", file=FILE, part_sha256=part_sha256)


def sums(parts: dict[str, bytes]) -> list[str]:
    return [hashlib.sha256(content).hexdigest() for content in parts.values()]


def test_the_parts_become_one_file(
    hub: Hub, repository: Repository, parts: dict[str, bytes], whole: bytes, tmp_path: Path
) -> None:
    model = on_hub(*sums(parts))
    seen: list[tuple[int, int | None]] = []
    path = fetch(model, tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == whole
    assert left_below(tmp_path) == MERGED
    assert seen[-1][0] == sum(len(content) for content in parts.values())
    assert inspect(path).name == "random"
    asked = len(hub.requests)
    assert locate(model, tmp_path) == fetch(model, tmp_path) == path == locate(on_hub(), tmp_path)
    assert len(hub.requests) == asked


def test_from_the_web_each_part_has_its_own_address(
    respx_mock: respx.MockRouter, parts: dict[str, bytes], whole: bytes, tmp_path: Path
) -> None:
    for name, content in parts.items():
        respx_mock.get(f"https://files.example/{name}?download=1").mock(httpx.Response(200, content=content))
    model = Model("m", source=f"https://files.example/{FILE}?download=1", part_sha256=sums(parts))
    assert fetch(model, tmp_path).read_bytes() == whole
    assert left_below(tmp_path) == MERGED


def test_parts_that_are_there_are_not_fetched_again(
    hub: Hub, repository: Repository, parts: dict[str, bytes], tmp_path: Path
) -> None:
    last = repository.files.pop("m-00003-of-00003.gguf")
    with pytest.raises(WeightsError, match=r"m-00003-of-00003.gguf can't be downloaded: .* no such file"):
        fetch(on_hub(), tmp_path)
    assert {name for name in left_below(tmp_path) if name in parts} == set(list(parts)[:2])
    repository.files["m-00003-of-00003.gguf"] = last
    fetch(on_hub(), tmp_path)
    assert len(hub.asked("GET", "/storage/")) == 3
    assert left_below(tmp_path) == MERGED


def test_a_part_with_a_wrong_sum(repository: Repository, parts: dict[str, bytes], tmp_path: Path) -> None:
    right = sums(parts)
    with pytest.raises(WeightsError, match=f"m-00002-of-00003.gguf has sha256 {right[1]}, the spec says {'0' * 64}"):
        fetch(on_hub(right[0], "0" * 64, right[2]), tmp_path)
    assert "m-of-00003.gguf" not in left_below(tmp_path)


def test_other_sums_than_those_it_was_made_of(repository: Repository, parts: dict[str, bytes], tmp_path: Path) -> None:
    fetch(on_hub(*sums(parts)), tmp_path)
    assert locate(on_hub("0" * 64, *sums(parts)[1:]), tmp_path) is None


def test_a_merged_file_that_was_damaged_is_fetched_again(
    hub: Hub, repository: Repository, whole: bytes, tmp_path: Path
) -> None:
    path = fetch(on_hub(), tmp_path)
    path.write_bytes(b"GGUF")
    assert fetch(on_hub(), tmp_path).read_bytes() == whole
    assert len(hub.asked("GET", "/storage/")) == 6


def test_parts_of_different_models_leave_no_file(
    repository: Repository, parts: dict[str, bytes], tmp_path: Path
) -> None:
    repository.files["m-00003-of-00003.gguf"] = parts["m-00002-of-00003.gguf"]
    with pytest.raises(WeightsError, match="does not belong with the other parts"):
        fetch(on_hub(), tmp_path)
    assert left_below(tmp_path) == set()


def test_what_can_not_be_loaded_is_refused_after_the_first_part(
    hub: Hub, repository: Repository, tmp_path: Path
) -> None:
    room = tmp_path / "made"
    room.mkdir()
    write_tiny(room / "m.gguf", tensors_a_part=8, **{"general.architecture": "mamba"})
    repository.files = {path.name: path.read_bytes() for path in room.glob("m-*.gguf")}
    with pytest.raises(UnsupportedModelError, match="architecture 'mamba'"):
        fetch(on_hub(), tmp_path / "weights")
    assert len(hub.asked("GET", "/storage/")) == 1
