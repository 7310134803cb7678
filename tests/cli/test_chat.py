"""`ixmodal chat` as people use it: in a terminal, against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.support.server import SCRIPTED, Server, free_port, serve

PROMPT = ">>> "


@contextmanager
def terminal(*arguments: str, **environ: str) -> Iterator[pexpect.spawn[str]]:
    """`ixmodal chat` in a terminal of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ixmodal", "chat", *arguments],
        env={**inherited, "TERM": "dumb", **environ},
        encoding="utf-8",
        timeout=30,
        dimensions=(40, 120),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ends(child: pexpect.spawn[str], code: int = 0) -> None:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code


def test_a_conversation(demo: Server, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    with terminal("--base-url", f"{demo.url}/v1", "--system", "be kind") as child:
        child.expect_exact("demo at http://127.0.0.1")
        child.expect_exact(PROMPT)
        child.sendline("What is the capital of France?")
        child.expect(r"capital of France\?\s+(\S[^\r\n]*)\r\n")
        answer = child.match[1]  # sampled: nearly always that it is Paris
        child.expect_exact(PROMPT)
        child.sendline(f"/save {saved}")
        child.expect_exact("2 messages are in")
        child.expect_exact(PROMPT)
        child.sendeof()
        ends(child)
    kept = json.loads(saved.read_text("utf-8"))
    assert kept == {
        "model": "demo",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": answer},
        ],
    }


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    """A scripted server of two models, with a key."""
    spec = {"models": [{"id": "one"}, {"id": "two"}], "endpoint": {"api_keys": ["the-key"]}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


def test_commands(echo: Server, tmp_path: Path) -> None:
    with terminal("--base-url", f"{echo.url}/v1", "--api-key", "the-key") as child:
        for said, answer in [
            ("/help", "Ctrl-C stops an answer"),
            ("/model", "one answers; there are one, two"),
            ("/model three", "There is no three; there are one, two"),
            ("/model two", "two answers from now on."),
            ("/system talk", "system: talk"),
            ("/system -", "system: none"),
            ("say:**bold** words", "\n**bold** words"),
            ("first \\\r say:second", "second"),
            ("/reset", "The conversation is forgotten."),
            ("/save /no/such/place", "/no/such/place can't be written: No such file or directory"),
            ("/save", "Write /save FILE."),
            ("/frobnicate", "There is no such command; /help lists them."),
        ]:
            child.expect_exact(PROMPT)
            child.sendline(said)
            child.expect_exact(answer)
        child.expect_exact(PROMPT)
        child.sendline("/quit")
        ends(child)


def test_control_c_stops_the_answer_and_not_the_chat(echo: Server) -> None:
    with terminal("--base-url", f"{echo.url}/v1", OPENAI_API_KEY="the-key") as child:
        child.expect_exact(PROMPT)
        child.sendline("!slow=0.05 say:" + "word " * 200)
        child.expect_exact("\r\n")  # the terminal's echo of what was typed
        child.expect_exact("word word")
        child.sendintr()
        child.expect_exact("(stopped)")
        child.expect_exact(PROMPT)
        child.send("half a line")
        child.expect_exact("half a line")  # Python loses a Ctrl-C that comes while readline still takes the characters
        child.sendintr()
        child.expect_exact(PROMPT)
        child.sendline("say:still here")
        child.expect_exact("still here")
        child.expect_exact(PROMPT)
        child.sendeof()
        ends(child)


def test_errors_are_sentences_and_the_chat_goes_on(echo: Server) -> None:
    with terminal("--base-url", f"{echo.url}/v1", "--api-key", "the-key", "--model", "none") as child:
        child.expect_exact(PROMPT)
        child.sendline("hello")
        child.expect_exact("error: 404: The model `none` does not exist")
        child.expect_exact(PROMPT)
        child.sendline("/model one")
        child.expect_exact(PROMPT)
        child.sendline("!fail")
        child.expect_exact("error: ")
        child.expect_exact(PROMPT)
        child.sendeof()
        ends(child)


def test_without_the_right_key(echo: Server) -> None:
    with terminal("--base-url", f"{echo.url}/v1", "--api-key", "wrong") as child:
        child.expect_exact("error: 401: Incorrect API key provided.")
        child.expect_exact("Give --api-key, or set OPENAI_API_KEY.")
        ends(child, 1)


def test_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal("--base-url", f"http://127.0.0.1:{free_port()}/v1") as child:
        child.expect_exact("error: nothing answers at http://127.0.0.1:")
        ends(child, 1)


def test_what_was_typed_is_remembered(echo: Server, tmp_path: Path) -> None:
    arguments = ["--base-url", f"{echo.url}/v1", "--api-key", "the-key"]
    with terminal(*arguments, XDG_STATE_HOME=str(tmp_path)) as child:
        child.expect_exact(PROMPT)
        child.sendline("say:remember me")
        child.expect_exact(PROMPT)
        child.sendeof()
        ends(child)
    with terminal(*arguments, XDG_STATE_HOME=str(tmp_path), TERM="xterm") as child:
        child.expect_exact(PROMPT)
        child.send("\x1b[A")
        child.expect_exact("say:remember me")
        child.sendline()
        child.expect_exact("remember me")
        child.sendcontrol("d")
    assert (tmp_path / "ixmodal/chat_history").stat().st_mode & 0o077 == 0


def test_a_pipe_gets_the_plain_text(demo: Server) -> None:
    command = [sys.executable, "-m", "ixmodal", "chat", "--base-url", f"{demo.url}/v1"]
    question = "What is the capital of France?\n"
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=60, check=True)
    answer = done.stdout.splitlines()[-1]
    assert answer.endswith(".")  # sampled: in one of a hundred it is not Paris
    assert "\x1b" not in done.stdout


def test_the_models_of_a_server(echo: Server) -> None:
    command = [sys.executable, "-m", "ixmodal", "models", "--base-url", f"{echo.url}/v1", "--api-key", "the-key"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=True)
    assert [(model["id"], model["status"]) for model in json.loads(done.stdout)] == [("one", "ready"), ("two", "ready")]
    table = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert table.split()[:2] == ["id", "status"]
    refused = subprocess.run([*command[:-1], "wrong"], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "401: Incorrect API key provided." in refused.stderr
