"""What only Modal has, as the real CLI sends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from modal_proto import api_pb2

from ixmodal import App, Endpoint, Image, Limits, Modal, ModalSecret, Model, Scaling, SpecError, Volume
from ixmodal.deploy.modal import build, pull_of
from ixmodal.deploy.modal.checks import problems
from tests.support.modal_apps import deploy
from tests.support.modal_loopback import ControlPlane, Deployed, NamedSecret

MODEL = Model("tiny", source="hf://owner/repo", file="tiny.gguf", slots=3, gpu_layers="all")
SERVER = App(
    image=Image.cuda(build="source"),
    gpu=("B200", "L4:2", "H100"),
    cpu=2,
    memory_mib=4096,
    region=("eu-west", "us-east"),
    weights=Volume("tiny-weights"),
    models=(MODEL,),
    endpoint=Endpoint(api_keys="secret:keys", max_queued=10),
    scaling=Scaling(min_replicas=1, max_replicas=7, buffer_replicas=2, scaledown_window=90),
    limits=Limits(drain_timeout=45.5, load_timeout=100),
    modal=Modal(
        serve_with="server",
        port=8123,
        routing_region="eu-west",
        proxy_auth=True,
        pull="ahead",
        hub_secret="hub",
        secrets=("plain", ModalSecret("more", required_keys=("A_KEY", "B_KEY"))),
        snapshot="gpu",
    ),
)
ENGINE = App(
    image=Image.cuda(),
    weights=Volume("tiny-weights"),
    models=(MODEL,),
    modal=Modal(proxy_auth=True, custom_domains=("llm.example.org", "api.example.org"), hub_secret="hub"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Deployed]:
    with ControlPlane() as control_plane:
        deploy(control_plane, SERVER)
        yield control_plane.deployed()


@pytest.fixture(scope="module")
def engine() -> Iterator[Deployed]:
    with ControlPlane() as control_plane:
        deploy(control_plane, ENGINE)
        yield control_plane.deployed()


def test_a_server_listens_and_ends_as_declared(server: Deployed) -> None:
    function = server.function("Server")
    assert function.is_server
    assert (function.http_config.port, list(function.http_config.proxy_regions)) == (8123, ["eu-west"])
    assert function.http_config.startup_timeout == function.startup_timeout_secs == 100
    assert function.http_config.exit_grace_period == 46 + 5
    assert not function.http_config.unauthenticated


def test_a_server_is_open_unless_it_asks_for_proxy_auth() -> None:
    with ControlPlane() as control_plane:
        deploy(control_plane, App(modal=Modal(serve_with="server")))
        assert control_plane.deployed().function("Server").http_config.unauthenticated


def test_a_server_scales_as_declared(server: Deployed) -> None:
    function = server.function("Server")
    settings = function.autoscaler_settings
    assert (settings.target_concurrency_float, function.max_concurrent_inputs) == (3, 13)
    assert (settings.min_containers, settings.max_containers, settings.buffer_containers) == (1, 7, 2)
    assert settings.scaledown_window == 90
    assert list(function.scheduler_placement.regions) == ["eu-west", "us-east"]
    assert server.gpus("Server") == ["B200", "L4", "H100"]


def test_a_pull_ahead_alone_may_write(server: Deployed) -> None:
    mounts = {mount.mount_path: mount.read_only for mount in server.function("Server").volume_mounts}
    assert mounts == {"/weights": True, "/var/cache/ixmodal": False}
    assert [mount.read_only for mount in server.function("pull").volume_mounts] == [False]
    names = {path: volume.deployment_name for path, volume in server.volumes("Server").items()}
    assert names == {"/weights": "tiny-weights", "/var/cache/ixmodal": "tiny-weights-cache"}
    assert server.environment("Server")["CUDA_CACHE_PATH"] == "/var/cache/ixmodal"
    assert server.environment("Server")["IXMODAL_WEIGHTS_DIR"] == "/weights"
    assert server.environment("pull")["HF_HOME"] == "/weights/.huggingface"


def test_the_hubs_token_goes_to_whoever_pulls(server: Deployed, engine: Deployed) -> None:
    token = NamedSecret("hub", ("HF_TOKEN",))
    assert server.secrets("pull") == engine.secrets("pull") == [token]
    assert token not in server.secrets("Server")
    assert token in engine.secrets("Engine.*")


def test_replicas_get_further_secrets(server: Deployed) -> None:
    keys = NamedSecret("keys", ("IXMODAL_API_KEYS",))
    assert server.secrets("Server") == [keys, NamedSecret("plain", ()), NamedSecret("more", ("A_KEY", "B_KEY"))]


def test_snapshots_are_asked_for(server: Deployed, engine: Deployed) -> None:
    assert server.function("Server").checkpointing_enabled
    assert server.function("Server").experimental_options["enable_gpu_snapshot"] == "True"
    assert not engine.function("Engine.*").checkpointing_enabled
    assert "enable_gpu_snapshot" not in engine.function("Engine.*").experimental_options


def test_an_endpoint_has_its_domains_and_its_guard(engine: Deployed) -> None:
    endpoint = engine.function("Engine.*").method_definitions["serve"].webhook_config
    assert endpoint.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert [domain.name for domain in endpoint.custom_domains] == ["llm.example.org", "api.example.org"]
    assert endpoint.requires_proxy_auth


def test_the_images_layers_go_from_what_changes_least_to_what_changes_most(engine: Deployed) -> None:
    installs = [command for command in engine.image("Engine.*") if "uv pip install" in command]
    native, others = installs
    assert "ctransformers[cuda]==0.2.27" in native
    assert "nvidia-cublas-cu12==" in native
    assert "nvidia-cuda-runtime-cu12==" in native
    assert "starlette==" in others
    assert "ctransformers" not in others
    assert not any("COPY" in command and "ixmodal" in command for command in engine.image("Engine.*"))
    assert any(path.startswith("/root/ixmodal/") for path in engine.files("Engine.*"))  # mounted, in no layer


def test_a_build_from_source_compiles_for_the_declared_cards(server: Deployed) -> None:
    commands = server.image("Server")
    assert commands[0].startswith("FROM nvidia/cuda:")
    assert "-devel-" in commands[0]
    (build_step,) = (command for command in commands if "CT_CUBLAS=1" in command)
    assert "-DCMAKE_CUDA_ARCHITECTURES=89;90;100'" in build_step
    assert "--no-binary ctransformers 'ctransformers==0.2.27'" in build_step
    assert not any("[cuda]" in command for command in commands)


def test_there_is_a_pull_only_where_there_is_something_to_pull() -> None:
    assert pull_of(build(ENGINE)).info
    with pytest.raises(SpecError, match="nothing to pull"):
        pull_of(build(App(weights=Volume("v"))))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (App(models=(MODEL,), modal=Modal(pull="ahead")), "modal.pull"),
        (App(models=(MODEL,), weights=Volume("v"), modal=Modal(snapshot="cpu")), "modal.snapshot"),
        (App(modal=Modal(snapshot="gpu")), "modal.snapshot"),
        (App(limits=Limits(head_timeout=200)), "limits.head_timeout"),
        (App(endpoint=Endpoint(label="x"), modal=Modal(serve_with="server")), "endpoint.label"),
        (App(modal=Modal(serve_with="server", custom_domains="llm.example.org")), "modal.custom_domains"),
        (App(endpoint=Endpoint(api_keys="file:/etc/keys")), "endpoint.api_keys"),
    ],
)
def test_what_modal_can_not_do_is_refused(spec: App, field: str) -> None:
    (problem,) = problems(spec)
    assert problem.startswith(f"{field}: ")
    with pytest.raises(SpecError, match=field):
        build(spec)
