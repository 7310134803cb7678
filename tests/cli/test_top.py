"""`ixmodal top` of real servers."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator

import httpx
import pexpect
import pytest
from typer.testing import CliRunner

from ixmodal.cli import main
from ixmodal.cli.standing import quantile
from tests.support.server import SCRIPTED, Server, free_port, serve, wait_for

SPEC = {
    "models": [{"id": "demo", "slots": 2}, {"id": "lazy", "load": "request"}],
    "endpoint": {"keys": [{"name": "team", "key": "t"}, {"name": "root", "key": "r", "admin": True}]},
}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "say:x !forever !slow=0.02"}], "stream": True}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(SPEC)}) as server:
        yield server


def once(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["top", "--once", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.stdout


def row_of(model: str, text: str) -> list[str]:
    [row] = [line.split() for line in text.splitlines() if line.startswith(f"{model} ") and "/" in line]
    return row


def test_an_admin_sees_models_slots_and_processes(server: Server) -> None:
    headers = {"authorization": "Bearer t", "x-request-id": "mine"}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=CHAT, headers=headers) as stream:
        lines = stream.iter_lines()  # held: without it the stream would be closed
        next(lines)
        wait_for(lambda: "mine" in once("--base-url", f"{server.url}/v1", "--api-key", "r"), 10)
        text = once("--base-url", server.url, "--api-key", "r")
    row = row_of("demo", text)
    assert row[:4] == ["demo", "ready", "1/2", "0"]
    assert int(row[-2]) in [engine.pid for engine in server.engines()]
    assert row_of("lazy", text)[:3] == ["lazy", "cold", "0/2"]
    assert re.search(r"^demo \d +mine +\d+ +\d+ +\d+ +\d+\.\d$", text, re.MULTILINE), text


def test_others_see_models_alone(server: Server) -> None:
    text = once("--base-url", server.url, "--api-key", "t")
    assert row_of("demo", text)[-2:] == ["-", "-"]
    assert "shown to admins" in text


def test_what_goes_wrong_is_told(server: Server) -> None:
    for arguments, words in (
        (["--base-url", f"http://127.0.0.1:{free_port()}"], "nothing answers"),
        (["--base-url", server.url], "401"),
    ):
        result = CliRunner().invoke(main, ["top", "--once", *arguments])
        assert result.exit_code == 1
        assert words in result.stderr


def test_in_a_terminal_it_goes_on_until_it_is_interrupted(server: Server) -> None:
    arguments = ["-m", "ixmodal", "top", "--interval", "0.2", "--base-url", server.url, "--api-key", "r"]
    child = pexpect.spawn(sys.executable, arguments, encoding="utf-8", timeout=30, dimensions=(40, 160))
    try:
        child.expect_exact("demo")
        child.expect(r"0\.0")  # tokens a second, which take two looks
        child.sendintr()
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


@pytest.mark.parametrize(
    ("buckets", "share", "found"),
    [
        ([], 0.5, None),
        ([(1.0, 0.0), (math.inf, 0.0)], 0.5, None),
        ([(1.0, 10.0), (2.0, 10.0), (math.inf, 10.0)], 0.5, 0.5),
        ([(1.0, 0.0), (2.0, 10.0), (math.inf, 10.0)], 0.95, 1.95),
        ([(1.0, 1.0), (2.0, 1.0), (math.inf, 10.0)], 0.95, 2.0),
    ],
)
def test_quantiles_are_prometheus(buckets: list[tuple[float, float]], share: float, found: float | None) -> None:
    assert quantile(buckets, share) == (found if found is None else pytest.approx(found))
