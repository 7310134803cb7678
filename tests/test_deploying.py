"""What docs/deploying.md shows is what happens: its commands are executed, or held against what they name."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ixmodal.deploy.container import image_name
from ixmodal.spec.sources import load_spec
from tests.support.server import ROOT, serve

PAGE = ROOT / "docs/deploying.md"
TEXT = PAGE.read_text("utf-8")
OUT = "my-infra"


def block(name: str) -> str:
    """The code block that follows the comment of that name."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, name
    return found[1]


def ixmodal(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the page's `ixmodal` commands."""
    name, *arguments = shlex.split(command)
    assert name == "ixmodal"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IXMODAL_")}
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the page has been followed as far as Docker."""
    place = tmp_path_factory.mktemp("deploying")
    (place / "my.toml").write_text(block("spec"))
    rendered = ixmodal(block("render"), place)
    assert rendered.returncode == 0, rendered.stderr
    return place


def document(place: Path, path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((place / OUT / path).read_text())
    return found


def test_the_spec_is_served_and_answers_with_its_key(place: Path) -> None:
    setting, name, command, spec = shlex.split(block("serve"))
    variable, _, key = setting.partition("=")
    with serve((name, command, str(place / spec)), {variable: key}) as server:
        curl = block("curl").replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run(
            ["sh", "-c", f"{curl.strip()} -s"], capture_output=True, text=True, timeout=30, check=True
        )
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "The capital of France is Paris."


def test_the_check_passes_and_fails_once_a_file_differs(place: Path) -> None:
    assert ixmodal(block("check"), place).returncode == 0
    service = place / OUT / "kubernetes/base/service.yaml"
    text = service.read_text()
    service.write_text(text.replace("80", "81"))
    try:
        checked = ixmodal(block("check"), place)
    finally:
        service.write_text(text)
    assert checked.returncode == 1
    assert "service.yaml: changed" in checked.stderr


def test_compose_is_given_the_file_and_the_variables_that_it_asks_for(place: Path) -> None:
    words = shlex.split(block("compose"))
    path = words[words.index("-f") + 1]
    text = (place / path).read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {words[0].partition("=")[0]}
    ports = [p for service in yaml.safe_load(text)["services"].values() for p in service.get("ports", [])]
    assert {port.split(":")[1] for port in ports} == {"8000", "9090", "3000"}
    assert "port 8000" in TEXT
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_build_names_a_dockerfile_a_target_and_the_tag_of_the_manifests(place: Path) -> None:
    words = shlex.split(block("build"))
    dockerfile = (place / words[words.index("-f") + 1]).read_text()
    for target in (words[words.index("--target") + 1], "cuda"):
        assert f" AS {target}\n" in dockerfile
    tag = words[words.index("-t") + 1]
    assert tag == image_name(load_spec(str(place / "my.toml"), environ={}))
    assert f" -t {tag} ." in dockerfile  # the Dockerfile's own first lines say the same


def test_the_secret_is_the_one_that_pods_ask_for(place: Path) -> None:
    words = shlex.split(block("secret"))
    [container] = document(place, "kubernetes/base/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    [reference] = [v["valueFrom"]["secretKeyRef"] for v in container["env"] if "valueFrom" in v]
    assert words[:5] == ["kubectl", "create", "secret", "generic", reference["name"]]
    assert words[5].removeprefix("--from-literal=").partition("=")[0] == reference["key"]


def test_what_is_applied_is_there(place: Path) -> None:
    folders = re.findall(r"kubectl apply -k (\S+)", block("apply"))
    assert len(folders) == 3
    for folder in folders:
        assert (place / folder / "kustomization.yaml").is_file()


def test_the_overlay_changes_what_there_is(place: Path) -> None:
    overlay = yaml.safe_load(block("overlay"))
    [base] = overlay["resources"]
    folder = (place / "my-cluster" / base).resolve()
    files = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    objects = [yaml.safe_load((folder / file).read_text()) for file in files if not file.startswith("..")]
    for patch in overlay["patches"]:
        [target] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == tuple(patch["target"].values())]
        for change in yaml.safe_load(patch["patch"]):
            place_of: Any = target
            for step in change["path"].strip("/").split("/"):
                place_of = place_of[int(step) if isinstance(place_of, list) else step]
            assert isinstance(place_of, str)
    [container] = document(place, "kubernetes/base/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert container["image"].partition(":")[0] == overlay["images"][0]["name"]


def test_links_lead_somewhere() -> None:
    for path in re.findall(r"\]\(((?!https?:)[^)#]+)", TEXT):
        assert (PAGE.parent / path).exists(), path
