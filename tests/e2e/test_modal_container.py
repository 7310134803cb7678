"""The deployed class, started by Modal's real container entrypoint, as clients of its endpoint see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk

from ixmodal import App, Endpoint, Limits, Model
from tests.support.modal_loopback import Container, ControlPlane

ROOT = Path(__file__).parents[2]
KEY = "sk-e2e"
SPEC = App(
    models=(Model("demo", slots=1),),
    endpoint=Endpoint(api_keys="secret:demo-keys", max_queued=4),
    limits=Limits(drain_timeout=20),
)
LONG = "Tell me a long story about everything you know."


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """Modal with the spec deployed by the real CLI."""
    with ControlPlane() as running:
        environment = {"IXMODAL_SPEC": SPEC.model_dump_json(exclude_unset=True), "PYTHONPATH": str(ROOT)}
        deployed = running.modal("deploy", "-m", "tests.support.declared_app", cwd=ROOT, env=environment)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield running


@pytest.fixture(scope="module")
def container(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container that serves for the whole module."""
    with Container(control_plane, tmp_path_factory.mktemp("container"), secrets={"IXMODAL_API_KEYS": KEY}) as running:
        yield running.wait_ready()


@pytest.fixture(scope="module")
def client(container: Container) -> Iterator[openai.OpenAI]:
    with connect(container) as connected:
        yield connected


def connect(container: Container, key: str = KEY) -> openai.OpenAI:
    """A client that neither repeats nor waits for long."""
    return openai.OpenAI(base_url=f"{container.url}/v1", api_key=key, max_retries=0, timeout=30)


def stream(client: openai.OpenAI, text: str, max_tokens: int) -> openai.Stream[ChatCompletionChunk]:
    """Ask and stream the answer."""
    return client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": text}], max_tokens=max_tokens, stream=True
    )


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """The answer that the chunks hold."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_a_chat_completion_streams_through_the_platform(client: openai.OpenAI) -> None:
    chunks = list(stream(client, "Hello! Who are you?", 32))
    assert text_of(chunks).strip()
    assert len(chunks) > 2
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_the_container_serves_the_declared_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]


def test_the_secret_holds_the_accepted_keys(container: Container) -> None:
    with connect(container, "sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_client_that_hangs_up_frees_its_slot(client: openai.OpenAI, container: Container) -> None:
    with stream(client, LONG, 4000) as abandoned:
        next(iter(abandoned))
    assert text_of(list(stream(client, "Hello!", 4)))  # the only slot is free again


def test_stopping_lets_a_running_answer_end(control_plane: ControlPlane, tmp_path: Path) -> None:
    with Container(control_plane, tmp_path, secrets={"IXMODAL_API_KEYS": KEY}) as container:
        container.wait_ready()
        engines = psutil.Process(container.pid).children(recursive=True)
        with connect(container) as client:
            answer = stream(client, LONG, 64)
            first = next(iter(answer))
            container.ask_to_stop()
            chunks = [first, *answer]
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        assert container.wait() == 0, container.log
        assert engines
        assert not [engine for engine in engines if engine.is_running()]


def test_a_container_that_cannot_load_says_why(control_plane: ControlPlane, tmp_path: Path) -> None:
    missing = App(models=(Model("gone", source="file:///nowhere/gone.gguf"),))
    environment = {"IXMODAL_SPEC": missing.model_dump_json(exclude_unset=True)}
    with Container(control_plane, tmp_path, env=environment) as container:
        container.wait()
        assert "/nowhere/gone.gguf" in container.failure
