from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ixmodal import App, Model, SpecError, Upstream
from ixmodal.spec.sources import load_spec, parse_spec
from tests.support.server import ROOT

URL = "https://models.example.com/v1"


def problem(make: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        make()
    return "; ".join(error["msg"] for error in caught.value.errors())


def test_a_url_alone_is_an_upstream() -> None:
    assert Model("big", upstream=URL).upstream == Upstream(url=URL)
    spec = parse_spec({"models": [{"id": "big", "upstream": f"{URL}/"}]})
    assert spec.models[0].upstream == Upstream(url=URL)
    assert load_spec(spec.model_dump_json(exclude_unset=True), {}) == spec


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/v1", "http:// or https://"),
        ("host/v1", "http:// or https://"),
        ("https://", "http:// or https://"),
        ("https://ho st/v1", "http:// or https://"),
        ("https://host/v1\r\nx: y", "http:// or https://"),
        ("https://host:0/v1", "http:// or https://"),
        ("https://host:99999/v1", "no valid URL"),
        ("https://user:word@host/v1", "put the key into `key`"),
        ("https://host/v1?key=1", "without ? and #"),
    ],
)
def test_other_addresses_are_refused(url: str, words: str) -> None:
    assert words in problem(lambda: Upstream(url=url))


@pytest.mark.parametrize(
    ("key", "secret", "variable"),
    [
        (None, None, None),
        ("sk-literal", None, None),
        ("env:BIG_KEY", None, "BIG_KEY"),
        ("secret:big", "big", "IXMODAL_UPSTREAM_KEY"),
        ("secret:big:OPENAI_API_KEY", "big", "OPENAI_API_KEY"),
    ],
)
def test_where_a_key_is(key: str | None, secret: str | None, variable: str | None) -> None:
    upstream = Upstream(url=URL, key=key)
    assert (upstream.secret, upstream.variable) == (secret, variable)


@pytest.mark.parametrize("key", ["", " ", "env:", "secret:", "secret:a:", "env:a:b", "secret:a:b:c", "a\nb", "käse", 7])
def test_keys_that_cant_be_sent_are_refused_without_being_shown(key: Any) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"models": [{"id": "big", "upstream": {"url": URL, "key": key}}]})
    [line] = caught.value.problems
    assert line.startswith("models.0.upstream.key: ")
    assert "käse" not in line


def test_a_key_is_not_shown() -> None:
    assert "sk-literal" not in repr(App(models=(Model("big", upstream=Upstream(url=URL, key="sk-literal")),)))


def test_what_belongs_to_weights_is_refused_beside_an_upstream() -> None:
    assert "`slots`, `source` can't be set beside `upstream`" in problem(
        lambda: Model("big", upstream=URL, slots=2, source="package://demo")
    )
    assert "`overflow_to`" in problem(lambda: Model("big", upstream=URL, overflow_to="other"))
    assert Model("big", upstream=URL, aliases=("gpt",)).aliases == ("gpt",)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nope", 'no model has the id "nope"; write one of big'),
        ("demo", "can't overflow to itself; write one of big"),
        ("other", '"other" is served here too, so it is no way out; write one of big'),
    ],
)
def test_overflow_leads_to_an_upstream(target: str, words: str) -> None:
    models = [
        {"id": "demo", "overflow_to": target},
        {"id": "other"},
        {"id": "big", "upstream": URL, "aliases": ["large"]},
    ]
    with pytest.raises(SpecError) as caught:
        parse_spec({"models": models})
    [line] = caught.value.problems
    assert line.startswith("models.0.overflow_to: ")
    assert words in line


def test_overflow_may_name_an_alias() -> None:
    big = Model("big", upstream=URL, aliases=("large",))
    assert App(models=(Model("demo", overflow_to="large"), big)).local_models == (Model("demo", overflow_to="large"),)


def test_upstreams_count_by_their_connections() -> None:
    big = Model("big", upstream=Upstream(url=URL, max_connections=5))
    both = App(models=(Model("demo", slots=3), big))
    queues = 2 * both.endpoint.max_queued
    assert (both.target_concurrency, both.max_concurrency) == (3, 3 + 5 + queues)
    assert App(models=(big,)).target_concurrency == 5


def test_the_example_of_local_first() -> None:
    spec = load_spec(str(ROOT / "examples" / "local_first.toml"), {"IXMODAL_UPSTREAM_KEY": "sk"})
    [local] = spec.local_models
    cloud = next(model for model in spec.models if model.id == local.overflow_to)
    assert cloud.upstream is not None
    assert (cloud.upstream.model, cloud.upstream.variable) == (local.id, "IXMODAL_UPSTREAM_KEY")


def test_variables_with_keys_of_upstreams_are_no_overrides() -> None:
    environ = {"IXMODAL_UPSTREAM_KEY": "a", "IXMODAL_UPSTREAM_KEY_2": "b"}
    assert load_spec(None, environ) == App()
