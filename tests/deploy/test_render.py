"""Rendered files: what is written, what is found to differ, what is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ixmodal import App
from ixmodal.deploy.render import RenderError, differences, render, write
from tests.deploy.specs import ALL, CUDA, SHIPPED
from tests.support.server import ROOT


def test_what_was_written_is_as_rendered(tmp_path: Path) -> None:
    files = render(CUDA, tmp_path / "infra", tmp_path)
    assert len(write(files, tmp_path / "infra")) == len(files)
    assert differences(files, tmp_path / "infra") == []
    assert write(files, tmp_path / "infra") == []


def test_a_changed_and_a_missing_file_are_found_and_mended(tmp_path: Path) -> None:
    files = render(SHIPPED, tmp_path, ROOT)
    write(files, tmp_path)
    (tmp_path / "compose.yaml").write_text(files["compose.yaml"] + "\n")
    (tmp_path / "kubernetes/base/service.yaml").unlink()
    assert differences(files, tmp_path) == ["compose.yaml: changed", "kubernetes/base/service.yaml: missing"]
    write(files, tmp_path)
    assert differences(files, tmp_path) == []


def test_what_an_earlier_spec_left_goes_and_what_people_put_there_stays(tmp_path: Path) -> None:
    write(render(CUDA, tmp_path, ROOT), tmp_path)
    own = tmp_path / "kubernetes/own/kustomization.yaml"
    own.parent.mkdir()
    own.write_text("resources: [../keda]\n")
    files = render(SHIPPED, tmp_path, ROOT)
    assert "kubernetes/base/pull-job.yaml: left by another spec" in differences(files, tmp_path)
    write(files, tmp_path)
    assert not (tmp_path / "kubernetes/base/pull-job.yaml").exists()
    assert own.exists()
    assert differences(files, tmp_path) == []


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_file_can_be_parsed_and_says_where_it_comes_from(spec: App, tmp_path: Path) -> None:
    for path, text in render(spec, tmp_path, ROOT).items():
        if path.endswith(".json"):
            json.loads(text)
        else:
            assert text.startswith("# Rendered by `ixmodal render`"), path
        if path.endswith((".yaml", ".yml")):
            yaml.safe_load(text)


def test_paths_follow_the_directory_that_is_rendered_into(tmp_path: Path) -> None:
    file = yaml.safe_load(render(SHIPPED, tmp_path / "deploy/one", tmp_path)["compose.yaml"])
    assert file["services"]["server"]["build"]["context"] == "../.."
    assert file["services"]["server"]["build"]["dockerfile"] == "deploy/one/Dockerfile"


def test_a_place_that_can_not_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "infra").write_text("a file, not a directory")
    with pytest.raises(RenderError, match=r"infra.*can't be written: "):
        write(render(SHIPPED, tmp_path / "infra", ROOT), tmp_path / "infra")
