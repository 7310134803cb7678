from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ixmodal import App, Endpoint, Limits, Model, Scaling, SpecError, load_spec
from ixmodal.spec.sources import parse_spec

DECLARED = App(
    name="one",
    gpu="L4",
    models=[Model("a", slots=3, sha256="ab" * 32), Model("b", source="hf://o/r", file="b.gguf")],
    endpoint=Endpoint(max_queued=16, api_keys=["env:KEYS", "literal"]),
    scaling=Scaling(max_replicas=4),
    limits=Limits(request_timeout=12.5),
)
PLAIN: dict[str, Any] = {
    "name": "one",
    "gpu": ["L4"],
    "models": [{"id": "a", "slots": 3, "sha256": "ab" * 32}, {"id": "b", "source": "hf://o/r", "file": "b.gguf"}],
    "endpoint": {"max_queued": 16, "api_keys": ["env:KEYS", "literal"]},
    "scaling": {"max_replicas": 4},
    "limits": {"request_timeout": 12.5},
}
TOML = f"""
name = "one"
gpu = ["L4"]
endpoint = {{ max_queued = 16, api_keys = ["env:KEYS", "literal"] }}
scaling.max_replicas = 4
[limits]
request_timeout = 12.5
[[models]]
id = "a"
slots = 3
sha256 = "{"ab" * 32}"
[[models]]
id = "b"
source = "hf://o/r"
file = "b.gguf"
"""
ENVIRONMENT = {
    "IXMODAL_NAME": "one",
    "IXMODAL_GPU": '["L4"]',
    "IXMODAL_MODELS": json.dumps(PLAIN["models"]),
    "IXMODAL_ENDPOINT__MAX_QUEUED": "16",
    "IXMODAL_ENDPOINT__API_KEYS": '["env:KEYS", "literal"]',
    "IXMODAL_SCALING": '{"max_replicas": 4}',
    "IXMODAL_LIMITS__REQUEST_TIMEOUT": "12.5",
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    found = types.ModuleType("declared_in_a_test")
    vars(found).update(spec=DECLARED, other=3)
    monkeypatch.setitem(sys.modules, found.__name__, found)
    return found.__name__


def said(source: str | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(source, environ or {})
    return caught.value.message


def test_one_meaning_in_every_home(tmp_path: Path, module: str) -> None:
    toml, text = tmp_path / "spec.toml", tmp_path / "spec.json"
    toml.write_text(TOML, "utf-8")
    text.write_text(json.dumps(PLAIN), "utf-8")
    homes = [str(toml), str(text), json.dumps(PLAIN), f"{module}:spec", DECLARED.model_dump_json()]
    assert [load_spec(home, {}) for home in homes] == [DECLARED] * 5
    assert load_spec(None, ENVIRONMENT) == DECLARED


def test_without_a_source_the_shipped_model_is_served() -> None:
    assert load_spec(None, {}) == App()
    assert load_spec(None, {"IXMODAL_SPEC": ""}) == App()


def test_the_source_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('name = "from-file"', "utf-8")
    assert load_spec(None, {"IXMODAL_SPEC": str(path)}).name == "from-file"
    assert load_spec('{"name": "told"}', {"IXMODAL_SPEC": str(path)}).name == "told"


def test_the_environment_wins_over_the_file_field_by_field() -> None:
    environ = {"IXMODAL_ENDPOINT__MAX_QUEUED": "1", "IXMODAL_NAME": "over", "ixmodal_gpu": '["T4"]'}
    app = load_spec(json.dumps(PLAIN), environ)
    assert (app.name, app.gpu) == ("over", ("T4",))
    assert app.endpoint == Endpoint(max_queued=1, api_keys=["env:KEYS", "literal"])
    assert app.models == DECLARED.models


def test_reserved_and_foreign_variables_are_no_fields() -> None:
    environ = {"IXMODAL_API_KEYS": "k", "IXMODAL_WEIGHTS_DIR": "/x", "PATH": "/bin", "MODAL_TOKEN": "x"}
    assert load_spec(None, environ) == App()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"modles": []}, "modles: no such field; did you mean models?"),
        ({"endpoint": {"max_queue": 1}}, "endpoint.max_queue: no such field; did you mean max_queued?"),
        ({"models": [{"id": "a", "slot": 1}]}, "models.0.slot: no such field; did you mean slots?"),
        ({"limits": {"zzz": 1}}, "limits.zzz: no such field; the fields are max_body_bytes, "),
        ({"weights": {"name": "w", "mont": "/x"}}, "weights.mont: no such field; did you mean mount?"),
    ],
)
def test_unknown_keys_get_a_suggestion(data: dict[str, Any], expected: str) -> None:
    assert expected in said(json.dumps(data))


def test_unknown_variables_get_a_suggestion() -> None:
    assert "IXMODAL_NAEM: no such field; did you mean IXMODAL_NAME?" in said(None, {"IXMODAL_NAEM": "x"})
    assert "endpoint.max_queue: no such field; did you mean max_queued?" in said(
        None, {"IXMODAL_ENDPOINT": '{"max_queue": 1}'}
    )


def test_an_unknown_nested_variable_is_not_dropped() -> None:
    assert "max_queue" in said(None, {"IXMODAL_ENDPOINT__MAX_QUEUE": "1"})


def test_every_wrong_field_is_named_in_one_error() -> None:
    data = {"name": "Not A Name", "endpoint": {"max_queued": -1}, "models": [{"id": "a", "slots": 0}]}
    with pytest.raises(SpecError) as caught:
        parse_spec(data, "here.toml")
    assert caught.value.source == "here.toml"
    named = {line.split(":")[0] for line in caught.value.problems}
    expected = {"name", "models.0.slots", "endpoint.max_queued"}
    assert expected <= named <= expected | {"models"}
    assert "but it is 'Not A Name'" in caught.value.problems[0]


def test_a_combination_is_explained_in_its_own_words() -> None:
    assert "write max_replicas = 5 or more" in said('{"scaling": {"min_replicas": 5, "max_replicas": 2}}')


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("missing.toml", "missing.toml is not a valid spec:\n  can't be read: No such file"),
        ("{broken", "can't be parsed"),
        ("nowhere", "write a path ending in .toml, .json or .py"),
        ("no_such_module:app", "can't be imported"),
    ],
)
def test_unreadable_sources(source: str, expected: str) -> None:
    assert expected in said(source)


def test_a_module_attribute_must_be_an_app(module: str) -> None:
    assert "is a int, not an ixmodal.App" in said(f"{module}:other")
    assert "can't be imported" in said(f"{module}:absent")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.toml", b"name = ", "can't be parsed"),
        ("a.json", b"[1]", "the top level must be a table"),
        ("a.json", b"\xff\xfe", "it is not UTF-8 text"),
        ("a.toml", b"#" * 1_100_000, "over 1048576 bytes"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in said(str(path))


def test_a_variable_that_is_no_json_is_refused() -> None:
    assert "write the value as JSON" in said(None, {"IXMODAL_MODELS": "a, b"})


def test_secrets_in_errors_are_not_spelled_out_at_length() -> None:
    long = "k" * 5000
    assert long not in said(json.dumps({"name": long}))


def test_a_python_file_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "a_spec_of_mine.py"
    file.write_text("from ixmodal import App\nspec = App(name='one')\nother = App(name='two')\n")
    assert load_spec(str(file), {}).name == "one"
    assert load_spec(f"{file}:other", {}).name == "two"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("from ixmodal import App\nspec = App(nmae='x')", "nmae: no such field; did you mean name"),
        ("spec = 1", "is a int, not an ixmodal.App"),
        ("import no_such_module_at_all", "can't be imported: No module named"),
        ("spec =", "can't be imported: invalid syntax"),
        ("app = 1", "has no attribute 'spec'"),
    ],
)
def test_a_python_file_that_is_no_spec(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "broken_spec_of_mine.py"
    file.write_text(text)
    with pytest.raises(SpecError, match=problem):
        load_spec(str(file), {})
    with pytest.raises(SpecError, match="can't be imported"):
        load_spec(str(tmp_path / "none.py"), {})


def test_modules_beside_a_spec_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "tools_beside_a_spec.py").write_text("def tool() -> str:\n    return 'here'\n")
    (tmp_path / "spec.toml").write_text("name = 'x'\n")
    load_spec(str(tmp_path / "spec.toml"), {})
    assert importlib.import_module("tools_beside_a_spec").tool() == "here"
