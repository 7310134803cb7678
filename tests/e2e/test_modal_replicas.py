"""Two replicas behind one front: an orderly stop of one of them cuts no stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ixmodal import App, Model
from tests.support.modal_apps import ROOT, connect, stream, text_of, wait_for
from tests.support.modal_loopback import Container, ControlPlane, Front

SPEC = App(models=(Model("demo", slots=4, threads=1),))
REQUESTS = 50
CONCURRENCY = 8


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The deploy of a file, as people write it."""
    project = tmp_path_factory.mktemp("project")
    (project / "app.py").write_text(
        "from ixmodal import App, Model\n"
        "from ixmodal.deploy.modal import build\n\n"
        f"app = build(App.model_validate_json({SPEC.model_dump_json(exclude_unset=True)!r}))\n"
    )
    with ControlPlane() as started:
        deployed = started.modal("deploy", "app.py", cwd=project, env={"PYTHONPATH": str(ROOT)})
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield started


def test_fifty_streams_survive_the_stop_of_a_replica(control_plane: ControlPlane, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with (
        Front(control_plane.loop) as front,
        Container(control_plane, folders[0], front=front) as stopped,
        Container(control_plane, folders[1], front=front) as remaining,
        connect(front) as client,
        ThreadPoolExecutor(CONCURRENCY) as pool,
    ):
        stopped.wait_ready()
        remaining.wait_ready()
        first_words = threading.Semaphore(0)

        def ask(number: int) -> tuple[str | None, str]:
            chunks = []
            for chunk in stream(client, 12, ignore_eos=True, seed=number):
                chunks.append(chunk)
                if len(chunks) == 2:
                    first_words.release()
            return chunks[-1].choices[0].finish_reason, text_of(chunks)

        answers = [pool.submit(ask, number) for number in range(REQUESTS)]
        for _ in range(CONCURRENCY + 4):  # in the middle of streams
            assert first_words.acquire(timeout=60)
        assert wait_for(lambda: stopped.requests > 0)
        stopped.ask_to_stop()
        taken = stopped.requests
        ended = [answer.result(100) for answer in answers]
        assert stopped.wait() == 0, stopped.log
        assert [reason for reason, _ in ended] == ["length"] * REQUESTS
        assert all(text for _, text in ended)
        assert stopped.requests == taken  # none after it was told
        assert taken + remaining.requests == REQUESTS
        assert remaining.requests > taken
        assert not stopped.failure
        assert not remaining.failure
