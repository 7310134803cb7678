"""What the README shows is what happens: its examples are executed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import tomllib

import pytest

from ixmodal import App, Upstream
from ixmodal.spec.sources import load_spec, parse_spec
from tests.support.server import ROOT, Server

README = (ROOT / "README.md").read_text("utf-8")


def block(name: str) -> str:
    """The code block that follows the comment of that name."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, name
    return found[1]


def test_the_curl_gives_the_answer_that_the_readme_gives(demo: Server) -> None:
    command = block("curl").replace("http://127.0.0.1:8000", demo.url)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    content = json.loads(done.stdout)["choices"][0]["message"]["content"]
    assert content == block("curl answer").strip()


def test_the_openai_example_prints_the_answer(demo: Server) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block("openai client").replace("http://127.0.0.1:8000", demo.url), {})
    assert printed.getvalue() == block("curl answer").strip()


def test_python_and_toml_declare_the_same() -> None:
    names: dict[str, App] = {}
    exec(block("python spec"), names)
    assert parse_spec(tomllib.loads(block("toml spec"))) == names["spec"]


def test_the_upstream_example_is_whole() -> None:
    demo, cloud = parse_spec(tomllib.loads(block("upstream spec"))).models
    assert demo.overflow_to == cloud.id
    assert cloud.upstream == Upstream(url="https://example.com/v1", key="env:CLOUD_KEY", model="their-id")


def test_the_commands_name_what_there_is() -> None:
    assert ".venv/bin/ixmodal serve" in block("serve command")
    for path in re.findall(r"\]\(((?!https?:)[^)]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", ["serve command", "test command"])
def test_the_two_commands_need_nothing_but_python(name: str) -> None:
    words = shlex.split(block(name))
    assert words[0] == "python3"
    assert {word for word in words if "/" in word and not word.startswith(".venv/bin/")} == set()


def test_the_environment_example_is_honoured() -> None:
    assert "IXMODAL_ENDPOINT__MAX_QUEUED=16" in README
    assert load_spec(environ={"IXMODAL_ENDPOINT__MAX_QUEUED": "16"}).endpoint.max_queued == 16
