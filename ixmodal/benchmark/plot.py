"""Runs as a picture: tokens a second and times to the first token over the number of streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ixmodal.benchmark.summary import Summary
from ixmodal.errors import SpecError

ENDINGS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises `SpecError` where no picture of this name can be drawn."""
    if path.suffix not in ENDINGS:
        raise SpecError("--plot", [f"{path.name} ends in {path.suffix or 'nothing'}; write a .png, .svg or .pdf"])
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError:
        raise SpecError("--plot", ["matplotlib is not installed; run pip install 'ixmodal[plan]'"]) from None


def plot(title: str, steps: Sequence[tuple[str, Summary]], path: Path) -> None:
    """Draw one point a step, such as (`4 streams`, its summary). Raises `OSError` where it can't be written."""
    # Imported here: it takes a second, and only a plot needs it.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = [name for name, _ in steps]
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    speed, wait = figure.subplots(1, 2)
    figure.suptitle(title)
    speed.plot(names, [summary.tokens_per_second for _, summary in steps], marker="o")
    speed.set_ylabel("tokens a second, all streams")
    speed.set_ylim(bottom=0)
    for name, field in (("first token, p50", "p50"), ("first token, p95", "p95")):
        found = [(step, summary.first_token) for step, summary in steps if summary.first_token]
        wait.plot([step for step, _ in found], [getattr(times, field) for _, times in found], marker="o", label=name)
    wait.set_ylabel("seconds")
    wait.set_ylim(bottom=0)
    wait.legend()
    # The same figures make the same file, so that a record changes only with them.
    with mpl.rc_context({"svg.hashsalt": "ixmodal"}):
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
