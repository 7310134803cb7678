"""What the real `modal` CLI sends for a spec: every field that concerns Modal has to arrive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from modal_proto import api_pb2

import ixmodal
from ixmodal import ApiKey, App, Endpoint, Image, Limits, Model, Scaling, SpecError, Volume, load_spec
from ixmodal.deploy.modal import build
from ixmodal.server.keyring import KeyRing
from tests.support.hub import Hub, Repository
from tests.support.modal_loopback import Container, ControlPlane, Deployed, NamedSecret

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ixmodal.__file__).parent
ENGINE = "Engine.*"
MODEL = Model("tiny", source="hf://owner/repo", file="tiny.gguf", revision="main", slots=3, gpu_layers="all")
EVERYTHING = App(
    name="everything",
    image=Image.cuda(
        python="3.12",
        base="debian:bookworm-slim",
        system_packages=("libgomp1",),
        packages=("sentencepiece==0.2.1",),
        env={"OMP_NUM_THREADS": "4"},
    ),
    gpu=("L40S", "L4", "A10G"),
    cpu=3.5,
    memory_mib=6144,
    region=("eu-west", "us-east"),
    weights=Volume("everything-weights", mount="/mnt/weights"),
    models=(MODEL, Model("demo", slots=2)),
    endpoint=Endpoint(api_keys="secret:everything-keys", max_queued=10, label="everything-api"),
    scaling=Scaling(min_replicas=1, max_replicas=7, buffer_replicas=2, scaledown_window=90, target_concurrency=4),
    limits=Limits(queue_timeout=30.5, request_timeout=900, load_timeout=100, download_timeout=1000),
)


EXTREMES = App(
    image=Image.cuda(env={"HF_HOME": "/var/hub"}),
    weights=Volume("extreme-weights"),
    models=(MODEL,),
    scaling=Scaling(max_concurrency=5),
    limits=Limits(request_timeout=86_400, download_timeout=86_400),
)
SHIPPED = App(image=Image.cpu(python="3.12"))


def modal(
    control_plane: ControlPlane, command: str, spec: App, env: dict[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `modal deploy` or `modal run` on a spec."""
    environment = {"IXMODAL_SPEC": spec.model_dump_json(exclude_unset=True), "PYTHONPATH": str(ROOT), **(env or {})}
    return control_plane.modal(command, "-m", "tests.support.declared_app", cwd=ROOT, env=environment)


def deploy(control_plane: ControlPlane, spec: App, env: dict[str, str] | None = None) -> Deployed:
    """Deploy a spec and read what arrived."""
    completed = modal(control_plane, "deploy", spec, env)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return control_plane.deployed()


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="module")
def everything() -> Iterator[Deployed]:
    with ControlPlane() as running:
        yield deploy(running, EVERYTHING)


@pytest.fixture(scope="module")
def shipped() -> Iterator[Deployed]:
    with ControlPlane() as running:
        yield deploy(running, SHIPPED)


@pytest.fixture(scope="module")
def extremes() -> Iterator[Deployed]:
    with ControlPlane() as running:
        yield deploy(running, EXTREMES)


def test_the_app_has_the_declared_name(everything: Deployed) -> None:
    assert everything.name == "everything"


def test_the_image_is_built_from_the_declared_base(everything: Deployed) -> None:
    commands = everything.image(ENGINE)
    assert commands[0] == "FROM debian:bookworm-slim"
    assert any("python-build-standalone" in mount and "3.12" in mount for mount in everything.image_mounts(ENGINE))
    assert "RUN apt-get install -y libgomp1" in commands
    assert "ENV OMP_NUM_THREADS=4" in commands


def test_without_a_base_the_image_is_slim_debian_with_the_declared_python(shipped: Deployed) -> None:
    commands = shipped.image(ENGINE)
    assert commands[0].startswith("FROM python:3.12")
    assert "slim" in commands[0]


def test_requirements_are_pinned_and_bring_cuda_only_where_declared(everything: Deployed, shipped: Deployed) -> None:
    with_cuda = installed(everything)
    assert {"ctransformers[cuda]==0.2.27", "sentencepiece==0.2.1"} < with_cuda
    assert all("==" in requirement for requirement in with_cuda)
    assert {name.partition("==")[0] for name in with_cuda} >= {"starlette", "pydantic", "numpy", "huggingface-hub"}
    assert "ctransformers==0.2.27" in installed(shipped)


def installed(deployed: Deployed) -> set[str]:
    """The requirements that the image installs."""
    lines = [command for command in deployed.image(ENGINE) if "uv pip install" in command]
    return {word.strip("'") for line in lines for word in line.split() if "==" in word}


def test_gpus_are_asked_for_in_order_of_preference(everything: Deployed) -> None:
    assert everything.gpus(ENGINE) == ["L40S", "L4", "A10G"]
    assert everything.gpus("pull") == []


def test_a_replica_reserves_what_is_declared(everything: Deployed) -> None:
    function = everything.function(ENGINE)
    assert function.resources.milli_cpu == 3500
    assert function.resources.memory_mb == 6144
    assert list(function.scheduler_placement.regions) == ["eu-west", "us-east"]


@pytest.mark.parametrize("function", [ENGINE, "pull"])
def test_the_volume_is_created_and_mounted_for_writing(everything: Deployed, function: str) -> None:
    (path, volume), *others = everything.volumes(function).items()
    assert (path, volume.deployment_name, others) == ("/mnt/weights", "everything-weights", [])
    assert volume.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
    assert not everything.function(function).volume_mounts[0].read_only


def test_caches_lie_on_the_volume(everything: Deployed) -> None:
    environment = everything.environment(ENGINE)
    assert environment["CUDA_CACHE_PATH"] == "/mnt/weights/.cuda"
    assert environment["HF_HOME"] == "/mnt/weights/.huggingface"


def test_a_declared_variable_wins_over_the_cache_on_the_volume(extremes: Deployed) -> None:
    assert "HF_HOME" not in extremes.environment(ENGINE)
    assert "ENV HF_HOME=/var/hub" in extremes.image(ENGINE)
    assert extremes.environment(ENGINE)["CUDA_CACHE_PATH"] == "/weights/.cuda"


def test_a_named_secret_must_hold_the_keys(everything: Deployed) -> None:
    assert everything.secrets(ENGINE) == [NamedSecret("everything-keys", ("IXMODAL_API_KEYS",))]
    assert everything.secrets("pull") == []


def test_scaling_arrives(everything: Deployed) -> None:
    settings = everything.function(ENGINE).autoscaler_settings
    assert (settings.min_containers, settings.max_containers, settings.buffer_containers) == (1, 7, 2)
    assert settings.scaledown_window == 90


def test_a_replica_takes_slots_and_queue_and_aims_at_the_target(everything: Deployed) -> None:
    function = everything.function(ENGINE)
    assert function.max_concurrent_inputs == EVERYTHING.max_concurrency == 3 + 2 + 2 * 10
    assert function.target_concurrent_inputs == 4


def test_a_declared_maximum_of_requests_is_kept(extremes: Deployed) -> None:
    function = extremes.function(ENGINE)
    assert (function.max_concurrent_inputs, function.target_concurrent_inputs) == (5, 3)


def test_timeouts_follow_the_limits(everything: Deployed) -> None:
    assert everything.function(ENGINE).timeout_secs == 931
    assert everything.function(ENGINE).startup_timeout_secs == 1000 + 2 * 100
    assert everything.function("pull").timeout_secs == 1000


def test_timeouts_stay_within_modals_day(extremes: Deployed) -> None:
    function = extremes.function(ENGINE)
    assert (function.timeout_secs, function.startup_timeout_secs) == (86_400, 86_400)


def test_the_endpoint_has_the_declared_label(everything: Deployed) -> None:
    endpoint = everything.function(ENGINE).method_definitions["serve"].webhook_config
    assert endpoint.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert endpoint.requested_suffix == "everything-api"


@pytest.mark.parametrize("function", [ENGINE, "pull"])
def test_the_spec_travels_whole(everything: Deployed, function: str) -> None:
    assert load_spec(environ=everything.environment(function)) == EVERYTHING


def test_containers_import_the_package_and_find_its_data(everything: Deployed) -> None:
    assert everything.function(ENGINE).module_name == "ixmodal.deploy.modal.replica"
    assert everything.function("pull").module_name == "ixmodal.deploy.modal.pulling"
    here = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert everything.files(ENGINE) == {f"/root/ixmodal/{p.relative_to(PACKAGE)}": p.read_bytes() for p in here}
    assert any(not path.endswith(".py") for path in everything.files(ENGINE))


def test_a_shipped_model_needs_no_volume_no_gpu_and_no_secret(shipped: Deployed) -> None:
    assert set(shipped.published.function_ids) == {ENGINE}
    assert (shipped.volumes(ENGINE), shipped.gpus(ENGINE), shipped.secrets(ENGINE)) == ({}, [], [])
    assert set(shipped.environment(ENGINE)) == {"IXMODAL_SPEC"}
    assert shipped.function(ENGINE).startup_timeout_secs == SHIPPED.limits.load_timeout


def test_literal_keys_travel_as_digests(control_plane: ControlPlane) -> None:
    spec = App(endpoint=Endpoint(api_keys="sk-first", keys=(ApiKey(name="team", key="sk-second"),)))
    deployed = deploy(control_plane, spec)
    sent = b"".join(request.SerializeToString() for _, request in control_plane.service.calls)
    assert b"sk-first" not in sent
    assert b"sk-second" not in sent
    keys = KeyRing(load_spec(environ=deployed.environment(ENGINE)), {})
    assert [bool(keys.find(key)) for key in (b"sk-first", b"sk-second", b"sk-third")] == [True, True, False]


def test_a_key_from_the_environment_is_sent_along(control_plane: ControlPlane) -> None:
    deployed = deploy(control_plane, App(endpoint=Endpoint(api_keys="env:TEAM_KEY")), {"TEAM_KEY": "sk-team"})
    assert deployed.environment(ENGINE)["TEAM_KEY"] == "sk-team"
    assert load_spec(environ=deployed.environment(ENGINE)).endpoint.api_keys == ("env:TEAM_KEY",)


def test_a_key_that_is_not_set_stops_the_deploy(control_plane: ControlPlane) -> None:
    completed = modal(control_plane, "deploy", App(endpoint=Endpoint(api_keys="env:TEAM_KEY")))
    assert completed.returncode != 0
    assert "TEAM_KEY is not set here" in " ".join((completed.stdout + completed.stderr).split())
    assert not control_plane.service.calls


@pytest.mark.parametrize("keys", [("secret:one", "secret:two"), ("secret:one", "env:IXMODAL_API_KEYS")])
def test_keys_that_would_overwrite_each_other_are_refused(
    keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IXMODAL_API_KEYS", "sk-here")
    with pytest.raises(SpecError, match="put all keys into one secret"):
        build(App(endpoint=Endpoint(api_keys=keys)))


def test_a_second_deploy_replaces_the_first(control_plane: ControlPlane) -> None:
    first = deploy(control_plane, App())
    uploads = len(control_plane.service.requests(api_pb2.MountPutFileRequest))
    second = deploy(control_plane, App(gpu=("T4",)))
    assert second.published.app_id == first.published.app_id
    assert second.published.function_ids == first.published.function_ids
    assert second.gpus(ENGINE) == ["T4"]
    assert len(control_plane.service.requests(api_pb2.MountPutFileRequest)) == uploads


def test_the_repositorys_own_deployment(control_plane: ControlPlane) -> None:
    completed = control_plane.modal("deploy", "app.py", cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert completed.returncode == 0, completed.stdout + completed.stderr
    deployed = control_plane.deployed()
    assert deployed.gpus(ENGINE) == ["L4", "A10G"]
    assert list(deployed.volumes(ENGINE)) == ["/weights"]
    assert deployed.secrets(ENGINE) == [NamedSecret("ixmodal-keys", ("IXMODAL_API_KEYS",))]
    spec = load_spec(environ=deployed.environment(ENGINE))
    assert spec == load_spec("app:spec", environ={})
    assert all(model.sha256 for model in spec.models)


def test_pull_fills_the_volume_and_commits(control_plane: ControlPlane, tmp_path: Path) -> None:
    mount = tmp_path / "weights"
    mount.mkdir()
    spec = App(models=(MODEL,), weights=Volume("pulled-weights", mount=str(mount)))
    with Hub({"owner/repo": Repository({"tiny.gguf": b"GGUF"})}) as hub, ThreadPoolExecutor() as pool:
        running = pool.submit(modal, control_plane, "run", spec)
        call = control_plane.remote_calls.get(timeout=30)
        environment = {"HF_ENDPOINT": hub.url}
        with Container(control_plane, tmp_path / "container", function="pull", env=environment) as container:
            output = container.run(call.input)
            call.output.set_result(output)
            assert output.result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, container.log
            assert container.commits == 1
        completed = running.result(60)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert [path.read_bytes() for path in mount.rglob("tiny.gguf")] == [b"GGUF"]
