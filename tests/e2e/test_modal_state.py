"""Two replicas, each started by Modal's real container entrypoint, and the Dicts that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from ixmodal import App, Model
from ixmodal.errors import SpecError
from ixmodal.server.store import choose_store
from ixmodal.spec import State
from tests.support.modal_apps import connect, deploy
from tests.support.modal_loopback import Container, ControlPlane

SPEC = App(models=(Model("demo", slots=1, threads=1),), state=State(url="modal-dict://kept"))


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as started:
        deploy(started, SPEC)
        yield started


@pytest.fixture(scope="module")
def replicas(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[openai.OpenAI]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    with (
        Container(control_plane, folders[0]) as one,
        Container(control_plane, folders[1]) as other,
        connect(one.wait_ready()) as here,
        connect(other.wait_ready()) as there,
    ):
        yield [here, there]


def test_replicas_share_what_is_stored(replicas: list[openai.OpenAI], control_plane: ControlPlane) -> None:
    here, there = replicas
    made = here.responses.create(model="demo", input="Hello!", max_output_tokens=16)
    assert there.responses.retrieve(made.id).output_text == made.output_text
    there.responses.create(model="demo", input="And?", previous_response_id=made.id, max_output_tokens=16)
    there.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        here.responses.retrieve(made.id)
    assert set(control_plane.dicts.content) == {"di-kept", "di-kept-used", "di-kept-open"}


def test_a_replica_follows_what_another_makes_in_the_background(replicas: list[openai.OpenAI]) -> None:
    here, there = replicas
    made = here.responses.create(model="demo", input="Hello!", background=True, max_output_tokens=16)
    events = list(there.responses.retrieve(made.id, stream=True))
    assert events[0].type == "response.created"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert there.responses.retrieve(made.id) == here.responses.retrieve(made.id)
    assert there.responses.retrieve(made.id).status in ("completed", "incomplete")


def test_elsewhere_dicts_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="on Modal only"):
        choose_store(SPEC)
    assert choose_store(App(state=State(url="modal-dict://kept", path=str(tmp_path / "db"))))
