"""The deployed class, started by Modal's real container entrypoint, as clients of its endpoint see it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from modal._serialization import deserialize_data_format, serialize
from modal_proto import api_pb2

import ixmodal
from ixmodal import App, Endpoint, Limits, Modal, Model, Volume
from tests.support import modal_apps
from tests.support.hub import Hub, Repository
from tests.support.modal_apps import deploy, engines_of, stream, text_of, wait_for
from tests.support.modal_loopback import Container, ControlPlane

KEY = "sk-e2e"
SECRETS = {"IXMODAL_API_KEYS": KEY}
DEMO = Model("demo", slots=1, threads=1)
SPEC = App(models=(DEMO,), endpoint=Endpoint(api_keys="secret:demo-keys", max_queued=4), limits=Limits(max_restarts=0))


def engine_of(container: Container) -> psutil.Process:
    """The only engine of the container."""
    (engine,) = engines_of(container.pid)
    return engine


def connect(container: Container, key: str = KEY) -> openai.OpenAI:
    """A client with the declared key."""
    return modal_apps.connect(container, key)


def running(container: Container) -> int:
    """Requests that hold a slot."""
    count: int = httpx.get(f"{container.url}/health").json()["running"]
    return count


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as started:
        deploy(started, SPEC)
        yield started


@pytest.fixture(scope="module")
def container(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(control_plane, tmp_path_factory.mktemp("container"), secrets=SECRETS) as started:
        yield started.wait_ready()


@pytest.fixture(scope="module")
def client(container: Container) -> Iterator[openai.OpenAI]:
    with connect(container) as connected:
        yield connected


def test_a_chat_completion_streams_through_the_platform(client: openai.OpenAI) -> None:
    chunks = list(stream(client, 24, ignore_eos=True))
    assert text_of(chunks).strip()
    assert len(chunks) > 2
    assert chunks[-1].choices[0].finish_reason == "length"


def test_the_container_serves_the_declared_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]


def test_the_secret_holds_the_accepted_keys(container: Container) -> None:
    with connect(container, "sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_what_ends_a_stream_goes_out_in_one_message(client: openai.OpenAI, container: Container) -> None:
    before = len(sent_bodies(container))
    list(stream(client, 8, ignore_eos=True, stream_options={"include_usage": True}))
    bodies = sent_bodies(container)[before:]
    assert b'"role":"assistant"' in bodies[0]
    assert all(text in bodies[-1] for text in (b'"finish_reason":"length"', b'"usage":{', b"[DONE]"))
    assert len(bodies) <= 10  # one a token at most, and the end


def sent_bodies(container: Container) -> list[bytes]:
    """What the container sent as bodies, a message each."""
    sent = container.service.requests(api_pb2.FunctionCallPutDataRequest)
    messages = [deserialize_data_format(c.data, c.data_format, None) for request in sent for c in request.data_chunks]
    return [message["body"] for message in messages if message["type"] == "http.response.body"]


def test_the_log_tells_where_a_cold_start_went(container: Container) -> None:
    line = next(line for line in container.log.splitlines() if "ready after" in line and "imports" in line)
    total, *stages = [float(seconds) for seconds in re.findall(r"([0-9.]+) s", line)]
    assert len(stages) == 3
    assert total == pytest.approx(sum(stages), abs=0.03)
    assert min(stages[0], stages[2]) > 0.05


def test_a_client_that_hangs_up_frees_its_slot(client: openai.OpenAI, container: Container) -> None:
    engine = engine_of(container)
    with stream(client, 4000, ignore_eos=True) as abandoned:
        next(iter(abandoned))
        engine.suspend()  # so that the answer can't end by itself
        assert running(container) == 1
    try:
        assert wait_for(lambda: running(container) == 0)
    finally:
        engine.resume()
    assert list(stream(client, 4))


def test_stopping_lets_a_running_answer_end(control_plane: ControlPlane, tmp_path: Path) -> None:
    with Container(control_plane, tmp_path, secrets=SECRETS) as container:
        container.wait_ready()
        engine = engine_of(container)
        with connect(container) as client:
            answer = stream(client, 48, ignore_eos=True)
            first = next(iter(answer))
            engine.suspend()
            container.ask_to_stop()
            engine.resume()
            chunks = [first, *answer]
        assert chunks[-1].choices[0].finish_reason == "length"
        assert container.wait() == 0, container.log
        assert not engine.is_running()
        assert not container.failure


def test_a_preempted_container_takes_its_engine_along(control_plane: ControlPlane, tmp_path: Path) -> None:
    with Container(control_plane, tmp_path, secrets=SECRETS) as container:
        container.wait_ready()
        engine = engine_of(container)
        psutil.Process(container.pid).send_signal(signal.SIGINT)
        assert container.wait() == 0, container.log
        assert not engine.is_running()


def test_a_container_lost_in_the_middle_of_a_stream_shows(control_plane: ControlPlane, tmp_path: Path) -> None:
    with Container(control_plane, tmp_path, secrets=SECRETS) as container:
        container.wait_ready()
        engine = engine_of(container)
        with connect(container) as client:
            answer = stream(client, 4000, ignore_eos=True)
            next(iter(answer))
            container.kill()
            with pytest.raises(openai.APIConnectionError):  # never a stream that looks whole
                list(answer)
        assert wait_for(lambda: not engine.is_running())


def test_a_dead_engine_ends_the_container(control_plane: ControlPlane, tmp_path: Path) -> None:
    with Container(control_plane, tmp_path, secrets=SECRETS) as container:
        container.wait_ready()
        engine_of(container).kill()
        assert container.wait() == 1, container.log


def test_a_container_that_cannot_load_says_why(control_plane: ControlPlane, tmp_path: Path) -> None:
    spec = App(models=(Model("gone", source="file:///nowhere/gone.gguf"),))
    with Container(control_plane, tmp_path, env={"IXMODAL_SPEC": spec.model_dump_json()}) as container:
        container.wait()
        assert "/nowhere/gone.gguf" in container.failure
        assert not container.is_ready


def test_a_volume_filled_ahead_is_only_read(tmp_path: Path) -> None:
    mount = tmp_path / "weights"
    mount.mkdir()
    model = Model("demo", source="hf://owner/demo", file="demo.gguf", slots=1, threads=1)
    spec = App(models=(model,), weights=Volume("demo-weights", mount=str(mount)), modal=Modal(pull="ahead"))
    weights = (Path(ixmodal.__file__).parent / "models/demo/demo.gguf").read_bytes()
    for name in ("pull", "replica"):
        (tmp_path / name).mkdir()
    with ControlPlane() as control_plane, Hub({"owner/demo": Repository({"demo.gguf": weights})}) as hub:
        deploy(control_plane, spec)
        environment = {"HF_ENDPOINT": hub.url}
        with Container(control_plane, tmp_path / "pull", function="pull", env=environment) as pulling:
            call = api_pb2.FunctionInput(args=serialize(((), {})), data_format=api_pb2.DATA_FORMAT_PICKLE)
            result = pulling.run(call).result
            assert result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, pulling.log
            assert pulling.commits == 1
        asked = len(hub.requests)
        before = {path: path.stat().st_mtime_ns for path in mount.rglob("*")}
        with Container(control_plane, tmp_path / "replica", env=environment) as replica, connect(replica) as client:
            replica.wait_ready()
            assert list(stream(client, 4))
            assert replica.commits == 0
        assert {path: path.stat().st_mtime_ns for path in mount.rglob("*")} == before
        assert len(hub.requests) == asked


def test_the_first_container_fills_an_empty_volume_for_the_others(tmp_path: Path) -> None:
    mount = tmp_path / "weights"
    mount.mkdir()
    model = Model("demo", source="hf://owner/demo", file="demo.gguf", threads=1)
    weights = (Path(ixmodal.__file__).parent / "models/demo/demo.gguf").read_bytes()
    with ControlPlane() as control_plane, Hub({"owner/demo": Repository({"demo.gguf": weights})}) as hub:
        deploy(control_plane, App(models=(model,), weights=Volume("demo-weights", mount=str(mount))))
        for name, commits in ("first", 1), ("second", 0):
            with Container(control_plane, tmp_path / name, env={"HF_ENDPOINT": hub.url}) as container:
                container.wait_ready()
                assert container.commits == commits
                assert httpx.get(f"{container.url}/readyz").status_code == 200
        assert len(hub.asked("GET", "/storage/")) == 1
