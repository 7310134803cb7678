from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ixmodal.engine.messages import (
    Load,
    LoadFailed,
    Ready,
    Refused,
)
from ixmodal.engine.request import (
    ChatPrompt,
)
from tests.engine.helpers import PATIENCE
from tests.engine.served import Peer, generate


class Child:
    """`python -m ixmodal.engine.worker` as the server starts it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "ixmodal.engine.worker", str(theirs.fileno()), str(os.getpid())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        theirs.close()
        self.connection, self.peer = ours, Peer(ours)

    def end(self) -> tuple[int, bytes]:
        """Hang up and see it off."""
        self.connection.close()
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@pytest.fixture
def child() -> Iterator[Child]:
    started = Child()
    try:
        yield started
    finally:
        started.process.kill()
        started.connection.close()
        started.process.communicate()


def test_a_child_serves_chats_and_ends_when_the_server_hangs_up(child: Child) -> None:
    child.peer.send(Load(backend="scripted", path="", slots=1, batch_size=8, threads=1))
    ready = child.peer.next()
    assert isinstance(ready, Ready)
    assert (ready.model.vocabulary_size, ready.model.slots, ready.model.context_length) == (261, 1, 4096)
    chat = ChatPrompt([{"role": "user", "content": "say:你好 <|im_end|>"}])
    assert child.peer.answer(generate(1, chat))[0] == "你好 <|im_end|>"
    assert child.end() == (0, b"")


def test_a_template_without_end_is_refused_and_the_child_goes_on(child: Child) -> None:
    template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    load = Load(
        backend="scripted", path="", slots=1, batch_size=8, threads=1, chat_template=template, template_timeout=0.05
    )
    child.peer.send(load)
    assert isinstance(child.peer.next(), Ready)
    child.peer.send(generate(1, ChatPrompt([{"role": "user", "content": "x"}])))
    refused = child.peer.next()
    assert isinstance(refused, Refused)
    assert "took over 0.05 seconds" in refused.message
    assert child.peer.answer(generate(2, "say:on|"))[0] == "on"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"path": "!fail-load"}, "the script says"),
        ({"chat_template": "{% if %}"}, "can't be compiled"),
        ({"backend": "ctransformers", "path": "absent.gguf"}, "absent.gguf does not exist"),
    ],
)
def test_what_can_not_be_loaded_is_told_and_ends_the_child(child: Child, fields: dict[str, Any], expected: str) -> None:
    load: dict[str, Any] = {"backend": "scripted", "path": "", "slots": 1, "batch_size": 8, "threads": 1}
    child.peer.send(Load(**(load | fields)))
    failed = child.peer.next()
    assert isinstance(failed, LoadFailed)
    assert expected in failed.message
    assert not failed.unsupported
    assert child.process.wait(PATIENCE) == 1


def test_a_child_that_never_hears_what_to_load_ends_with_its_server(child: Child) -> None:
    assert child.end() == (0, b"")


def test_ctrl_c_and_sigterm_are_the_servers_business(child: Child) -> None:
    child.peer.send(Load(backend="scripted", path="", slots=1, batch_size=8, threads=1))
    assert isinstance(child.peer.next(), Ready)
    child.process.send_signal(signal.SIGINT)
    child.process.send_signal(signal.SIGTERM)
    assert child.peer.answer(generate(1, "say:still here|"))[0] == "still here"
