from __future__ import annotations

import pytest

from ixmodal import App, Image, Model, State, Upstream
from ixmodal.deploy.modal.checks import problems

URL = "https://host/v1"


def spec_of(*keys: str | None) -> App:
    models = [Model(f"m{at}", upstream=Upstream(url=URL, key=key)) for at, key in enumerate(keys)]
    return App(models=tuple(models), limits={"head_timeout": 100})


@pytest.mark.parametrize(
    "keys",
    [
        (None, "secret:a"),
        ("secret:a", "secret:a"),
        ("secret:a", "secret:b:OTHER", "env:THIRD"),
    ],
)
def test_keys_of_upstreams_that_reach_the_replicas(keys: tuple[str | None, ...]) -> None:
    assert problems(spec_of(*keys)) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("sk-literal",), "models.0.upstream.key: a literal would travel in the open"),
        (("secret:a", "secret:b"), "models.1.upstream.key: IXMODAL_UPSTREAM_KEY is set for another upstream already"),
        (("env:KEY", "secret:b:KEY"), "models.1.upstream.key: KEY is set for another upstream already"),
    ],
)
def test_keys_of_upstreams_that_do_not(keys: tuple[str, ...], words: str) -> None:
    [line] = problems(spec_of(*keys))
    assert line.startswith(words)
    assert "sk-literal" not in line


def test_an_engine_that_the_image_lacks() -> None:
    spec = App(models=(Model("m", engine="llama_cpp"),), limits={"head_timeout": 100})
    assert [problem.split(":")[0] for problem in problems(spec)] == ["models.0.engine"]
    with_it = spec.model_copy(update={"image": Image(packages=("llama_cpp_python==0.3.36",))})
    assert problems(with_it) == []


def test_a_password_that_would_travel_with_the_spec() -> None:
    [line] = problems(App(state=State(url="redis://:hush@host:6379/0"), limits={"head_timeout": 100}))
    assert line.startswith("state.url: ")
    assert "hush" not in line
    assert problems(App(state=State(url="redis://host:6379/0"), limits={"head_timeout": 100})) == []
