"""The composition root, where models are here, elsewhere, or can't be had."""

from __future__ import annotations

import pytest

from ixmodal import App, Model, SpecError, Upstream
from ixmodal.engine.messages import Load
from ixmodal.errors import EngineNotReadyError, InvalidRequestError, IxmodalError, WeightsError
from ixmodal.runtime import Progress, Runtime
from tests.support.scripted import find_scripted

CLOUD = Model("cloud", upstream=Upstream(url="https://host/v1"))


async def find_unless_missing(model: Model, spec: App, progress: Progress) -> Load:
    if model.id.startswith("missing"):
        raise WeightsError("no such file")
    return await find_scripted(model, spec, progress)


def failures_of(runtime: Runtime) -> list[IxmodalError]:
    failures: list[IxmodalError] = []
    runtime.on_failed = failures.append
    return failures


async def test_an_upstream_is_ready_and_has_no_engine() -> None:
    runtime = Runtime(App(models=(CLOUD,)), find_unless_missing)
    await runtime.wait_ready()
    served = runtime.find("cloud")
    assert (served.state, runtime.is_ready, runtime.in_flight) == ("ready", True, 0)
    with pytest.raises(InvalidRequestError, match="The model cloud is on another server"):
        _ = served.engine
    await runtime.stop()
    assert not runtime.is_ready


def test_a_key_that_is_not_there_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUD_KEY", raising=False)
    model = Model("cloud", upstream=Upstream(url="https://host/v1", key="env:CLOUD_KEY"))
    with pytest.raises(SpecError, match="set the environment variable CLOUD_KEY"):
        Runtime(App(models=(model,)))


async def test_a_model_that_cant_be_had_ends_the_server() -> None:
    runtime = Runtime(App(models=(Model("missing"), Model("demo"))), find_unless_missing)
    failures = failures_of(runtime)
    with pytest.raises(WeightsError):
        await runtime.wait_ready()
    assert [error.message for error in failures] == ["no such file"]
    assert runtime.find("demo").state == "cold"
    await runtime.stop()


async def test_one_that_overflows_does_not_and_the_others_load() -> None:
    models = (Model("missing", overflow_to="cloud"), Model("demo", overflow_to="cloud"), CLOUD)
    runtime = Runtime(App(models=models), find_unless_missing)
    failures = failures_of(runtime)
    assert runtime.is_ready
    with pytest.raises(EngineNotReadyError, match="demo is loading"):
        _ = runtime.find("demo").engine_at_once
    await runtime.wait_ready()
    assert (failures, runtime.is_ready) == ([], True)
    assert [served.state for served in runtime.models.values()] == ["failed", "ready", "ready"]
    with pytest.raises(EngineNotReadyError, match="The model missing failed to load: no such file"):
        _ = runtime.find("missing").engine_at_once
    assert runtime.find("demo").engine_at_once is runtime.find("demo").engine
    await runtime.stop()
