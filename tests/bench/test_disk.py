from __future__ import annotations

import os
from pathlib import Path

from bench import disk


def test_the_page_cache_is_seen_and_emptied(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(3_000_000))
    assert disk.read(path) > 0
    assert disk.resident(path) == 1.0
    disk.forget(path)
    assert disk.resident(path) <= 1.0  # how much is left is the file system's to say: one in memory keeps all
    assert path.stat().st_size == 3_000_000
