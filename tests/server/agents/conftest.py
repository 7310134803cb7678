from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.agents import toolbox


@pytest.fixture(autouse=True)
def _fresh_toolbox() -> Iterator[None]:
    toolbox.release.clear()
    toolbox.seen.clear()
    yield
    toolbox.release.set()
