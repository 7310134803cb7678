"""Weights onto the volume: as a function of its own, or as a replica's first act."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import modal

from ixmodal.spec import App, Model
from ixmodal.spec.sources import load_spec
from ixmodal.weights import Progress, fetch, weights_directory

logger = logging.getLogger("ixmodal")
LOG_FORMAT = "%(levelname)s:     %(message)s"
REPORT_EVERY = 5.0
"""Seconds between two lines about a download."""


def pull() -> None:
    """Download every model of the spec onto the weights volume."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    fill_volume(load_spec())


def fill_volume(spec: App) -> None:
    """Bring every file onto the volume; what was new is committed once, so that other replicas find it.

    Raises:
        WeightsError: a file can't be had, or is not what the spec says.
    """
    directory = weights_directory(spec)
    before = _listing(directory)
    for model in spec.local_models:
        fetch(model, directory, _reporter(model), timeout=spec.limits.download_timeout)
    if spec.weights and _listing(directory) != before:
        modal.Volume.from_name(spec.weights.name).commit()


def _reporter(model: Model) -> Progress:
    told = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told >= REPORT_EVERY:
            told = time.monotonic()
            logger.info("model %s: %d of %s MB", model.id, done // 1_000_000, total // 1_000_000 if total else "?")

    return report


def _listing(directory: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_size) for path in directory.rglob("*") if path.is_file()}
