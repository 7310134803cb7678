"""Deploying specs to the loopback control plane, and asking what runs there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import openai
import psutil
from openai.types.chat import ChatCompletionChunk

from ixmodal import App
from tests.support.modal_loopback import ControlPlane

ROOT = Path(__file__).parents[2]


class Reachable(Protocol):
    """What listens somewhere."""

    @property
    def url(self) -> str: ...


def deploy(control_plane: ControlPlane, spec: App) -> None:
    """Deploy a spec with the real CLI."""
    environment = {"IXMODAL_SPEC": spec.model_dump_json(exclude_unset=True), "PYTHONPATH": str(ROOT)}
    deployed = control_plane.modal("deploy", "-m", "tests.support.declared_app", cwd=ROOT, env=environment)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr


def connect(place: Reachable, key: str = "unused") -> openai.OpenAI:
    """A client that neither repeats nor waits for long."""
    return openai.OpenAI(base_url=f"{place.url}/v1", api_key=key, max_retries=0, timeout=60)


def stream(client: openai.OpenAI, max_tokens: int, **more: Any) -> openai.Stream[ChatCompletionChunk]:
    """Ask something and stream the answer."""
    return client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Hello! Who are you?"}],
        max_tokens=max_tokens,
        stream=True,
        extra_body=more,
    )


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """The answer that the chunks hold."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def engines_of(pid: int) -> list[psutil.Process]:
    """The engine processes of a container."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "ixmodal.engine.worker" in " ".join(child.cmdline())]


def wait_for(condition: Callable[[], bool], timeout: float = 20) -> bool:
    """Ask until it holds, or the time is over."""
    deadline = time.monotonic() + timeout
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds
