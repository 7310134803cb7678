"""What a spec means in any container, and what none can have."""

from __future__ import annotations

import pytest

from ixmodal import App, Model, SpecError, State, Volume
from ixmodal.deploy.target import check_places

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
        App(state=State(path="/var/lib/ixmodal/state.db")),
    ],
)
def test_places_that_containers_have_are_not(spec: App) -> None:
    check_places(spec)
