"""Servers that many tests share. Each is a real process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.support.server import DEMO, SCRIPTED, Server, serve


@pytest.fixture(scope="session", autouse=True)
def _shared_state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of what tests share is kept in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test begins with nothing kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def demo() -> Iterator[Server]:
    """`uvicorn ixmodal.asgi:app` with no spec at all: the model that ships."""
    with serve(DEMO) as server:
        yield server


@pytest.fixture(scope="session")
def scripted() -> Iterator[Server]:
    """A server whose engine follows a script."""
    spec = '{"models": [{"id": "demo", "slots": 2}], "limits": {"max_choices": 4, "max_messages": 8}}'
    with serve(SCRIPTED, {"IXMODAL_SPEC": spec}) as server:
        yield server


@pytest.fixture
def client(demo: Server) -> Iterator[OpenAI]:
    """The OpenAI SDK, strict, against the model that ships."""
    with OpenAI(base_url=f"{demo.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def scripted_client(scripted: Server) -> Iterator[OpenAI]:
    """The OpenAI SDK, strict, against the scripted engine."""
    with OpenAI(
        base_url=f"{scripted.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
