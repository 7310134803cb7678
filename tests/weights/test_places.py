from __future__ import annotations

from pathlib import Path

import pytest

from ixmodal import App, Model, Volume
from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.weights import fetch, locate, weights_directory
from ixmodal.weights.places import shown, shown_url, target_path


def test_the_environment_names_the_directory(tmp_path: Path) -> None:
    spec = App(weights=Volume("disk", mount=str(tmp_path)))
    assert weights_directory(spec, {"IXMODAL_WEIGHTS_DIR": "/data/weights"}) == Path("/data/weights")


def test_a_mounted_volume_is_the_directory(tmp_path: Path) -> None:
    assert weights_directory(App(weights=Volume("disk", mount=str(tmp_path))), {}) == tmp_path


@pytest.mark.parametrize(
    ("spec", "name"), [(App(name="mine"), "mine"), (App(weights=Volume("disk", mount="/nowhere/at/all")), "disk")]
)
def test_elsewhere_it_is_the_users_cache(spec: App, name: str) -> None:
    assert weights_directory(spec, {"XDG_CACHE_HOME": "/cache"}) == Path("/cache/ixmodal") / name
    assert weights_directory(spec, {}) == Path.home() / ".cache/ixmodal" / name


def test_an_unknown_package_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    for source in ("package://nothing", "package://", "package://../demo"):
        with pytest.raises(WeightsError, match="does not exist; the package holds "):
            locate(Model("m", source=source), tmp_path)


def test_the_demo_is_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = tmp_path / "demo" / "demo.gguf"
    demo.parent.mkdir()
    demo.write_bytes(b"GGUF")
    monkeypatch.setattr("ixmodal.weights.places.files", lambda package: tmp_path)
    assert fetch(Model("m", source="package://demo", sha256=None), tmp_path) == demo
    with pytest.raises(WeightsError, match=r"the package holds package://demo$"):
        locate(Model("m", source="package://other"), tmp_path)


def test_a_file_is_used_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "my model.gguf"
    with pytest.raises(WeightsError, match=r"my model\.gguf does not exist; correct the source of the model m"):
        fetch(Model("m", source=f"file://{file}"), tmp_path)
    file.write_bytes(b"GGUF")
    assert fetch(Model("m", source=f"file://{file}"), tmp_path) == file
    assert fetch(Model("m", source=f"file://{tmp_path}/my%20model.gguf"), tmp_path) == file


def test_a_file_source_must_name_a_file_absolutely(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no absolute path; write file:///"):
        locate(Model("m", source="file://model.gguf"), tmp_path)
    with pytest.raises(WeightsError, match="is not a file"):
        locate(Model("m", source=f"file://{tmp_path}"), tmp_path)
    with pytest.raises(WeightsError, match="can't be read: File name too long"):
        locate(Model("m", source=f"file:///{'a' * 300}.gguf"), tmp_path)


def test_downloads_have_their_places(tmp_path: Path) -> None:
    hub = Model("m", source="hf://owner/repo", file="sub/a.gguf", revision="refs/pr/1")
    assert target_path(hub, tmp_path) == tmp_path / "hf/owner/repo/refs%2Fpr%2F1/sub/a.gguf"
    unpinned = Model("m", source="hf://owner/repo", file="a.gguf")
    assert target_path(unpinned, tmp_path) == tmp_path / "hf/owner/repo/main/a.gguf"
    web = target_path(Model("m", source="https://u:p@Files.Example:8443/x/a%20b.gguf?sig=1"), tmp_path)
    assert web.relative_to(tmp_path).parts[:2] == ("https", "files.example")
    assert web.name == "a_b.gguf"
    assert len(web.parent.name) == 12
    assert locate(hub, tmp_path) is None


@pytest.mark.parametrize(
    "model",
    [
        Model("m", source="hf://../..", file="a.gguf"),
        Model("m", source="hf://owner/repo", file="a.gguf", revision=".."),
        Model("m", source="hf://owner/repo", file="a\\b.gguf"),
        Model("m", source="hf://owner/repo", file="a/"),
        Model("m", source="https://host"),
        Model("m", source="https://host/.."),
        Model("m", source="https://host/%2e%2e"),
        Model("m", source="https:///a.gguf"),
        Model("m", source="https://[::1/a.gguf"),
    ],
)
def test_no_source_leads_out_of_the_directory(model: Model, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="correct"):
        fetch(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model",
    [
        Model("m", source="hf://owner/repo", file="a-00003-of-00003.gguf"),
        Model("m", source="https://host/a-00002-of-00003.gguf?download=1"),
    ],
)
def test_a_split_model_is_named_by_its_first_part(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"is part \d of a split model; name the first of its 3"):
        fetch(model, tmp_path)


def test_parts_on_this_machine_are_not_merged(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="llama-gguf-split --merge"):
        fetch(Model("m", source="file:///a-00001-of-00002.gguf"), tmp_path)


def test_a_model_in_one_part_is_no_split_model(tmp_path: Path) -> None:
    assert locate(Model("m", source="hf://owner/repo", file="a-00001-of-00001.gguf"), tmp_path) is None


def test_secrets_are_not_shown() -> None:
    assert shown_url("https://user:pa@ss@host:8443/a/b.gguf?X-Signature=x#y") == "https://host:8443/a/b.gguf"
    assert shown_url("https://host?sig=x") == "https://host"
    assert shown(Model("m", source="hf://owner/repo", file="a.gguf")) == "hf://owner/repo/a.gguf"
