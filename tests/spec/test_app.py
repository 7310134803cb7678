from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ixmodal import App, Endpoint, Image, Limits, Model, Scaling, Upstream, Volume

MODELS: list[type[BaseModel]] = [App, Image, Volume, Model, Endpoint, Scaling, Limits, Upstream]
FIELDS = [(model, name, field) for model in MODELS for name, field in model.model_fields.items()]
IDS = [f"{model.__name__}.{name}" for model, name, _ in FIELDS]


def problem(make: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        make()
    return "; ".join(error["msg"] for error in caught.value.errors())


@pytest.mark.parametrize(("model", "name", "field"), FIELDS, ids=IDS)
def test_every_field_is_described(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    assert field.description, f"{model.__name__}.{name} has no description"
    assert field.description.endswith(".")


# `gpu_layers` is bounded by its validator, for it may be a word.
NUMERIC = [case for case in FIELDS if {case[2].annotation, *get_args(case[2].annotation)} & {int, float}]
NUMERIC = [case for case in NUMERIC if case[1] != "gpu_layers"]


@pytest.mark.parametrize(("model", "name", "field"), NUMERIC)
def test_every_number_is_bounded_on_both_sides(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    bounds = {type(bound).__name__ for bound in field.metadata}
    assert bounds & {"Ge", "Gt"}, f"{model.__name__}.{name} has no lower bound"
    assert bounds & {"Le", "Lt"}, f"{model.__name__}.{name} has no upper bound"


@pytest.mark.parametrize("model", MODELS)
def test_specs_are_frozen_and_refuse_unknown_keys(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"


def test_a_declared_app_can_not_be_changed() -> None:
    app = App()
    with pytest.raises(ValidationError, match="frozen"):
        app.name = "other"


def test_the_default_app_serves_the_shipped_model() -> None:
    app = App()
    assert [model.source for model in app.models] == ["package://demo"]
    slots = app.models[0].slots
    assert (app.target_concurrency, app.max_concurrency) == (slots, slots + app.endpoint.max_queued)


def test_ids_and_names_are_positional() -> None:
    assert Model("a", slots=3) == Model(id="a", slots=3)
    assert Volume("weights") == Volume(name="weights")


def test_one_text_is_a_list_of_one() -> None:
    assert App(gpu="L4", region="eu").gpu == ("L4",)
    assert Endpoint(api_keys="secret:keys").api_keys == ("secret:keys",)


def test_secrets_are_the_names_behind_the_prefix() -> None:
    assert Endpoint(api_keys=["secret:a", "env:B", "literal"]).secrets == ("a",)


def test_concurrency_follows_slots_and_queue() -> None:
    app = App(models=[Model("a", slots=3), Model("b", slots=1)], endpoint=Endpoint(max_queued=5))
    assert (app.target_concurrency, app.max_concurrency) == (4, 14)
    declared = App(scaling=Scaling(target_concurrency=7, max_concurrency=9))
    assert (declared.target_concurrency, declared.max_concurrency) == (7, 9)


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "hf://owner/repo"},
        {"source": "hf://owner/repo/file.gguf", "file": "x.gguf"},
        {"source": "hf://owner", "file": "x.gguf"},
        {"source": "https://host/x.gguf", "file": "x.gguf"},
        {"source": "file:///x.gguf", "revision": "main"},
        {"source": "hf://owner/repo", "file": "../x.gguf"},
        {"source": "hf://owner/repo", "file": "/x.gguf"},
        {"source": "http://host/x.gguf"},
        {"source": "/x.gguf"},
        {"gpu_layers": -1},
        {"gpu_layers": 1001},
        {"gpu_layers": "some"},
        {"sha256": "abc"},
        {"context_length": 15},
        {"slots": 0},
        {"threads": 0},
        {"id": "with space"},
        {"id": ""},
    ],
    ids=str,
)
def test_impossible_models_are_refused(fields: dict[str, Any]) -> None:
    assert problem(lambda: Model(**({"id": "m"} | fields)))


@pytest.mark.parametrize("mount", ["weights", "/", "/a/../b", "../x"])
def test_a_mount_is_an_absolute_path_below_the_root(mount: str) -> None:
    assert "absolute path" in problem(lambda: Volume("v", mount=mount))


@pytest.mark.parametrize("key", ["", "  ", "secret:", "env:"])
def test_an_empty_key_is_refused(key: str) -> None:
    assert "a key is empty" in problem(lambda: Endpoint(api_keys=[key]))


def test_scaling_must_be_ordered() -> None:
    assert "write max_replicas = 3 or more" in problem(lambda: Scaling(min_replicas=3, max_replicas=2))
    assert "write max_concurrency = 9 or more" in problem(lambda: Scaling(target_concurrency=9, max_concurrency=8))
    assert Scaling(min_replicas=2, max_replicas=2, target_concurrency=8, max_concurrency=8).max_replicas == 2


def test_a_target_beyond_slots_and_queue_is_refused() -> None:
    fields = {"endpoint": Endpoint(max_queued=1), "models": [Model("m", slots=2)]}
    said = problem(lambda: App(**fields, scaling=Scaling(target_concurrency=4)))
    assert "above what slots and queue hold (3)" in said
    assert App(**fields, scaling=Scaling(target_concurrency=3)).target_concurrency == 3


def test_two_models_of_one_id_are_refused() -> None:
    assert "models: two models have the id" in problem(lambda: App(models=[Model("a"), Model("a")]))


def test_an_app_without_models_is_refused() -> None:
    assert problem(lambda: App(models=[]))


def test_a_file_source_must_lie_on_the_volume() -> None:
    outside = Model("m", source="file:///elsewhere/m.gguf")
    assert "lies outside the weights volume" in problem(lambda: App(models=[outside], weights=Volume("w")))
    inside = Model("m", source="file:///weights/m.gguf")
    assert App(models=[inside], weights=Volume("w")).weights == Volume("w")


def test_offload_needs_an_image_with_cuda() -> None:
    model = Model("m", gpu_layers="all")
    assert "Image.cuda()" in problem(lambda: App(models=[model], gpu="L4"))
    assert App(models=[model], gpu="L4", image=Image.cuda()).image.accelerator == "cuda"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_durations_are_finite(value: float) -> None:
    assert problem(lambda: Limits(request_timeout=value))


def test_checksums_are_read_in_any_case() -> None:
    assert Model("m", sha256="AB" * 32).sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": "a-00001-of-00003.gguf", "sha256": "0" * 64}, "write `part_sha256`"),
        ({"file": "a-00001-of-00003.gguf", "part_sha256": ["0" * 64] * 2}, "holds 2 sums, but the name says 3 parts"),
        ({"file": "a.gguf", "part_sha256": ["0" * 64]}, "but the name says that it is no split model"),
        ({"file": "a-00001-of-00001.gguf", "part_sha256": ["0" * 64]}, "but the name says that it is no split model"),
    ],
)
def test_sums_of_split_models(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Model("m", source="hf://owner/repo", **fields)


def test_which_part_of_how_many() -> None:
    assert Model("m", source="hf://o/r", file="a-00001-of-00003.gguf", part_sha256=["0" * 64] * 3).split == (1, 3)
    assert Model("m", source="https://h/a-00002-of-00012.GGUF?x=1").split == (2, 12)
    assert Model("m", source="hf://o/r", file="a.gguf").split is None
    assert Model("m", source="https://[::1/a.gguf").split is None
