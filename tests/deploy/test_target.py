"""What a spec means in any container, and what none can have."""

from __future__ import annotations

import pytest

from ixmodal import App, Endpoint, Image, Model, SpecError, State, Upstream, Volume
from ixmodal.deploy.target import check_places, secrets, spec_text

OWN = (Model("own", source="file:///models/own.gguf"),)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (App(models=OWN), r"models\.0\.source"),
        (App(weights=Volume("w", mount="/tmp/weights")), r"weights\.mount"),
        (App(weights=Volume("w", mount="/var/lib")), r"weights\.mount"),
        (App(weights=Volume("w", mount="/opt/venv/lib")), r"weights\.mount"),
        (App(weights=Volume("w", mount="/etc/ixmodal")), r"weights\.mount"),
        (App(state=State(path="/data/state.db")), r"state\.path"),
        (App(models=(Model("m", engine="llama_cpp"),)), r"models\.0\.engine"),
    ],
)
def test_places_that_no_container_has_are_refused(spec: App, field: str) -> None:
    with pytest.raises(SpecError, match=f"  {field}: "):
        check_places(spec)


@pytest.mark.parametrize(
    "spec",
    [
        App(),
        App(models=OWN, weights=Volume("w", mount="/models")),
        App(state=State(path="memory")),
        App(models=(Model("m", engine="llama_cpp"),), image=Image(packages=("llama-cpp-python==0.3.36",))),
        App(state=State(path="/var/lib/ixmodal/state.db")),
    ],
)
def test_places_that_containers_have_are_not(spec: App) -> None:
    check_places(spec)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (App(endpoint=Endpoint(api_keys="file:/run/keys")), r"endpoint\.api_keys: file:/run/keys is not in the image"),
        (App(endpoint=Endpoint(api_keys=("secret:a", "secret:b"))), "several secrets would set IXMODAL_API_KEYS"),
        (App(models=(Model("m", upstream=Upstream(url="https://h/v1", key="SECRET")),)), r"models\.0\.upstream\.key"),
        (App(state=State(url="redis://:SECRET@cache:6379/0")), r"state\.url: .*IXMODAL_STATE__URL"),
    ],
)
def test_secrets_that_would_be_written_down_or_get_lost_are_refused(spec: App, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as refused:
        secrets(spec)
    assert "SECRET" not in refused.value.message


def test_a_key_that_stands_in_the_spec_travels_as_its_digest() -> None:
    spec = App(endpoint=Endpoint(api_keys="sk-very-secret"))
    assert secrets(spec) == ()
    assert "sk-very-secret" not in spec_text(spec)
    assert "sha256:" in spec_text(spec)
