"""What a check finds, target by target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ixmodal import AgentSpec, App, CustomEndpoint, Endpoint, Image, Model, Scaling, State, Volume
from ixmodal.deploy.checks import Report, check
from ixmodal.deploy.checks.targets import container, modal
from ixmodal.deploy.checks.weights import ModelReport, check_model
from ixmodal.models.inspect import inspect
from ixmodal.runtime.memory import Gpu
from ixmodal.weights import locate
from tests.support.ggjt_files import write_ggjt
from tests.support.gguf_files import TINY, write_tiny

HUB = {"source": "hf://owner/repo", "file": "a.gguf"}


@pytest.fixture(autouse=True)
def _weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IXMODAL_WEIGHTS_DIR", str(tmp_path / "weights"))


def texts(report: Report, level: str = "error") -> list[str]:
    """All findings of a level, of the spec and of every target."""
    found = [*report.findings, *(finding for target in report.targets for finding in target.findings)]
    return [finding.text for finding in found if finding.level == level]


def at(path: Path, **fields: Any) -> Model:
    return Model("m", source=f"file://{path}", **fields)


def test_the_shipped_model_works_everywhere() -> None:
    report = check(App(), environ={})
    assert report.is_fine
    assert texts(report) == texts(report, "warning") == []
    assert [target.works for target in report.targets] == [True, True, True]
    here = report.targets[0]
    assert here.needed is not None
    assert here.available is not None
    assert here.needed < here.available


def test_memory_is_weights_cache_and_work(tiny_model: Path) -> None:
    model = at(tiny_model, slots=3, context_length=128, batch_size=32)
    need = check_model(model, App(models=(model,))).need
    assert need is not None
    narrow = TINY.width // TINY.heads * (TINY.kv_heads or TINY.heads)
    assert need.cache == 3 * 128 * TINY.blocks * 2 * narrow * 2
    assert need.work == 3 * 32 * (128 * TINY.heads + TINY.vocabulary) * 4
    assert 0 < need.weights < tiny_model.stat().st_size
    assert need.saved == need.cache  # as much again for what lost its slot
    assert (need.host, need.gpu) == (need.weights + need.cache + need.work + need.saved, 0)


@pytest.mark.parametrize("mib", [0, 3])
def test_memory_for_what_lost_its_slot_is_as_declared(tiny_model: Path, mib: int) -> None:
    model = at(tiny_model, memory_cache_mib=mib)
    need = check_model(model, App(models=(model,))).need
    assert need is not None
    assert need.saved == mib * 1024**2
    assert need.host == need.weights + need.cache + need.work + need.saved


def test_a_disk_that_ends_with_the_replica_is_told(tiny_model: Path) -> None:
    texts = [finding.text for finding in modal(App(models=(at(tiny_model, disk_cache_mib=100),)), []).findings]
    assert any(text.startswith("disk_cache_mib") for text in texts)
    texts = [finding.text for finding in modal(App(models=(at(tiny_model),)), []).findings]
    assert not any(text.startswith("disk_cache_mib") for text in texts)


def test_without_a_map_each_slot_of_an_older_file_has_its_own_weights(tiny_model: Path, tmp_path: Path) -> None:
    def host(path: Path, **fields: Any) -> int:
        need = check_model(at(path, **fields), App()).need
        assert need is not None
        return need.host - need.cache - need.work - need.saved

    older = write_ggjt(tmp_path / "older.bin", write_tiny(tmp_path / "m.gguf", kv_heads=4, feed_forward=256))
    assert host(older, slots=4, mmap=False) == 4 * host(older, slots=4)
    assert host(tiny_model, slots=4, mmap=False) == host(tiny_model, slots=4)


def test_what_is_offloaded_is_on_the_gpu_once_a_slot(tiny_model: Path) -> None:
    def need(layers: Any) -> tuple[int, int, int]:
        found = check_model(at(tiny_model, slots=2, gpu_layers=layers, memory_cache_mib=0), App()).need
        assert found is not None
        return found.host, found.gpu - (found.cache + found.work if layers == "all" else found.work), found.weights

    assert need("all") == (0, 2 * need("all")[2], need("all")[2])
    host, gpu, weights = need(1)
    assert gpu == 2 * (weights // 2)
    assert host > weights // 2


def test_a_gpu_that_is_too_small(tiny_model: Path) -> None:
    model = at(tiny_model, slots=64, context_length=1_048_576, gpu_layers="all", batch_size=512)
    report = check(App(models=(model,), gpu="L4", image=Image.cuda()), targets=["modal"])
    (text,) = [text for text in texts(report) if "GPU memory" in text]
    assert "are needed, 22.4 GiB are there; take fewer slots" in text
    larger = check(App(models=(model,), gpu="L4:8", image=Image.cuda()), targets=["modal"]).targets[0]
    assert larger.available == 8 * 24 * 10**9


def test_a_container_that_is_too_small() -> None:
    model = Model("m", slots=8, context_length=20_000)
    spec = App(models=(model,), memory_mib=512)
    assert any("memory_mib: " in text and "0.5 GiB are there" in text for text in texts(check(spec)))
    assert check(spec).is_fine, "it is not meant for containers"
    assert not check(spec, targets=["container"]).is_fine


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(write_tiny(tmp_path / "m.gguf").read_bytes()[:-5000])
    text = tmp_path / "notes.gguf"
    text.write_text("these are no weights")
    spec = App(
        models=(
            Model("gone", source=f"file://{tmp_path}/gone.gguf"),
            Model("damaged", source=f"file://{damaged}"),
            Model("text", source=f"file://{text}"),
            Model("changed", source=f"file://{tmp_path}/m.gguf", sha256="0" * 64),
            Model("wordless", source=f"file://{tmp_path}/m.gguf", chat_template="{% if %}"),
            Model("cloud", upstream={"url": "https://host/v1", "key": "env:CLOUD_KEY"}),
        ),
        agents=(AgentSpec("clerk", model="text", tools=("no_such_module:f", "json:nothing")),),
        endpoint=Endpoint(api_keys=("env:MY_KEYS", "file:/no/such/keys")),
        custom_endpoints=(CustomEndpoint(path="/v1/models"),),
    )
    report = check(spec, environ={})
    assert not report.is_fine
    everything = "\n".join(report.errors)
    for wrong in (
        "gone.gguf does not exist",
        "damaged.gguf is damaged or incomplete",
        "notes.gguf is not a GGUF file",
        "m.gguf has sha256",
        "wordless: chat_template: the chat template can't be compiled",
        "agent clerk: tools.0: no_such_module:f",
        "agent clerk: tools.1: json:nothing",
        "env:MY_KEYS: set the environment variable MY_KEYS",
        "/no/such/keys",
        "the model cloud: env:CLOUD_KEY: set the environment variable CLOUD_KEY",
        "/v1/models",
    ):
        assert wrong in everything
    assert [model.state for model in report.models] == ["wrong"] * 4 + ["here", "upstream"]


def test_weights_that_have_yet_to_come() -> None:
    report = check(App(models=(Model("m", **HUB),)))
    assert report.is_fine
    assert report.models[0].state == "to be downloaded"
    assert [target.needed for target in report.targets] == [None] * 3
    warnings = texts(report, "warning")
    assert any("m: sha256 is not given" in text for text in warnings)
    assert any("m: revision is not given" in text for text in warnings)
    assert any("every replica downloads its models anew" in text for text in warnings)


def test_a_file_on_the_volume_need_not_be_here() -> None:
    spec = App(models=(Model("m", source="file:///weights/m.gguf"),), weights=Volume("disk"))
    report = check(spec)
    assert report.models[0].state == "not here"
    assert report.is_fine


def test_a_file_of_this_machine_is_in_no_container(tiny_model: Path) -> None:
    report = check(App(models=(at(tiny_model),)), targets=["container"])
    assert any("is not in the image; declare `weights`" in text for text in texts(report))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"endpoint": Endpoint(api_keys="file:/keys")}, "file:/keys is not in the image"),
        ({"gpu": "H100:none", "image": Image.cuda()}, "has no number of GPUs"),
        ({"weights": Volume("disk", mount="/tmp")}, "/tmp is taken in the image"),
    ],
)
def test_what_a_container_can_not_have(fields: dict[str, Any], text: str) -> None:
    report = check(App(**fields), targets=["container"])
    assert any(text in found for found in texts(report))
    assert not report.is_fine


def test_what_a_model_file_can_not_do(tmp_path: Path) -> None:
    wordless = write_tiny(tmp_path / "m.gguf", chat_template=None, kv_heads=4, feed_forward=256)
    old = write_ggjt(tmp_path / "old.bin", wordless)
    for path in (wordless, old):
        report = check(App(models=(at(path, context_length=100_000),)))
        assert any("chat requests are refused; set chat_template" in text for text in texts(report, "warning"))
        trained = inspect(path).context_length
        assert any(f"trained on {trained}; answers get worse" in text for text in texts(report, "warning"))
    assert locate(at(old), tmp_path) == old
    for path, most in ((wordless, 62), (old, 31)):
        found = [texts(check(App(models=(at(path, slots=slots),)))) for slots in (most, most + 1)]
        refusals = [[text for text in each if "slots" in text] for each in found]
        assert refusals == [
            [],
            [f"m: slots: ctransformers holds {most} of this model at most, not {most + 1}; write {most} or fewer"],
        ]


def test_a_gpu_here_and_none(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = App(models=(Model("demo", gpu_layers="all"),))
    assert any("no NVIDIA GPU is found here" in text for text in texts(check(spec, targets=["local"])))
    monkeypatch.setattr("ixmodal.deploy.checks.targets.gpus", lambda: [Gpu("NVIDIA Test", 100 * 1024**2, 1)])
    report = check(spec, targets=["local"])
    assert report.targets[0].memory == "GPU memory of NVIDIA Test"
    assert report.targets[0].available == 100 * 1024**2
    assert any("0.1 GiB are there" in text for text in texts(report)), "the driver alone takes more"


CUDA = {"image": Image.cuda(), "gpu": "L4", "weights": Volume("disk")}
OFFLOADED = (Model("demo", gpu_layers="all"),)


@pytest.mark.parametrize(
    ("fields", "level", "text"),
    [
        ({"gpu": "L4"}, "warning", "the GPU is paid for and idle; set gpu_layers"),
        ({"models": OFFLOADED}, "error", "gpu_layers is set, but the spec names no gpu"),
        ({**CUDA, "models": OFFLOADED, "weights": None}, "warning", "compiles the GPU's kernels anew"),
        ({**CUDA, "models": OFFLOADED, "gpu": "L5"}, "warning", "L5 is not among the types known here (T4, L4"),
        ({**CUDA, "models": OFFLOADED, "gpu": "L4:many"}, "error", "L4:many asks for no number of GPUs"),
        ({"region": "atlantis-1"}, "warning", "atlantis-1 begins like none of Modal's"),
        ({"region": "eu-west"}, "warning", "Modal charges more where a region is named"),
        ({"scaling": Scaling(min_replicas=1)}, "warning", "paid for around the clock"),
        ({"modal": {"serve_with": "server"}, "endpoint": Endpoint(label="api")}, "error", "a server has no label"),
        ({"modal": {"snapshot": "gpu"}}, "error", '"gpu" needs a GPU'),
        ({"endpoint": Endpoint(api_keys="file:/keys")}, "error", "is a file of this machine"),
        ({"endpoint": Endpoint(api_keys="env:NOT_SET_HERE")}, "error", "NOT_SET_HERE is not set here"),
    ],
)
def test_what_modal_will_say(fields: dict[str, Any], level: str, text: str) -> None:
    report = check(App(**fields), targets=["modal"])
    assert any(text in found for found in texts(report, level))
    assert report.is_fine is (not texts(report))


def test_what_a_spec_is_meant_for() -> None:
    def intended(spec: App) -> list[bool]:
        return [target.is_intended for target in check(spec, environ={}).targets]

    assert intended(App()) == [True, False, False]
    assert intended(App(weights=Volume("disk"))) == [False, True, True]
    assert intended(App(endpoint=Endpoint(api_keys="secret:keys"))) == [False, True, True]
    assert [t.is_intended for t in check(App(), targets=["modal"]).targets] == [True]


def test_redis_needs_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report = check(App(state=State(url="redis://localhost")), targets=["local"])
    assert any("pip install 'ixmodal[redis]'" in text for text in texts(report))


def test_a_file_that_only_an_engine_outside_the_image_loads() -> None:
    spec = App(models=(Model("m", **HUB),), weights=Volume("v"), limits={"head_timeout": 100})
    seen = [ModelReport("m", "hf://owner/repo", "here", engine="llama_cpp")]
    for target in (container, modal):
        [line] = [finding.text for finding in target(spec, seen).findings if finding.level == "error"]
        assert line.startswith("models.0.engine: llama_cpp is not in the image")
        with_it = spec.model_copy(update={"image": Image(packages=("llama-cpp-python",))})
        assert target(with_it, seen).works
        assert target(spec, [ModelReport("m", "hf://owner/repo", "here", engine="ctransformers")]).works


def test_an_engine_that_the_image_lacks_is_told_of_once() -> None:
    spec = App(models=(Model("m", engine="llama_cpp", **HUB),), weights=Volume("v"))
    seen = [ModelReport("m", "hf://owner/repo", "here", engine="llama_cpp")]
    assert len([finding for finding in container(spec, seen).findings if "models.0.engine" in finding.text]) == 1


def test_metrics_that_nothing_may_scrape_are_warned_of() -> None:
    spec = App(endpoint=Endpoint(api_keys="secret:keys"))
    assert any(text.startswith("endpoint.public_metrics: ") for text in texts(check(spec, environ={}), "warning"))
    public = App(endpoint=Endpoint(api_keys="secret:keys", public_metrics=True))
    assert texts(check(public, environ={}), "warning") == []


@pytest.mark.parametrize(
    ("threads", "cpu", "warned"),
    [(4, None, []), (5, None, ["this machine"]), (4, 4, []), (4, 2.5, ["container", "Modal"]), (None, 0.5, [])],
)
def test_more_threads_than_cores_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, cpu: float | None, warned: list[str]
) -> None:
    monkeypatch.setattr("ixmodal.deploy.checks.targets.available_cores", lambda: 4)
    spec = App(cpu=cpu, models=(Model("m", threads=threads),))
    told = {
        target.name: [finding.text for finding in target.findings if f"threads = {threads}" in finding.text]
        for target in check(spec, environ={}).targets
    }
    assert [name for name, texts in told.items() if texts] == warned


def test_models_that_are_loaded_together_share_the_cores(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    monkeypatch.setattr("ixmodal.backends.cpu._SMALL_BYTES", 0)
    monkeypatch.setattr("ixmodal.backends.cpu.available_cores", lambda: 9)
    monkeypatch.setattr("ixmodal.backends.cpu.physical_cores", lambda: 9)
    one = at(tiny_model)
    two = Model("n", source=one.source, load="request")
    three = Model("o", source=one.source, load="request")

    def threads(*models: Model, **fields: Any) -> int | None:
        return check_model(models[0], App(models=models, **fields)).threads

    assert threads(one) == 8
    assert threads(one, two) == threads(two, one, three) == 4
    assert threads(one, cpu=5) == 4
    assert threads(Model("m", source=one.source, threads=3), two) == 3
