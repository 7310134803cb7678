"""A plan as a picture: requests in the system, replicas, and latencies, over time."""

from __future__ import annotations

from pathlib import Path

from ixmodal.planning.simulation import Outcome

_INCHES = (9.0, 7.5)


def plot(outcome: Outcome, path: Path, title: str) -> None:
    """Write a .png, .svg or .pdf. Raises `ValueError` for another ending, `OSError` where it can't be written."""
    # Imported here: it takes a second, and only a plot needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    load, fleet, latency = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title)
    times, counts = _in_system(outcome)
    load.step(times, counts, where="post", linewidth=0.8)
    load.set_ylabel("requests in the system")
    steps = outcome.replicas_over_time()
    fleet.step([at for at, _ in steps], [count for _, count in steps], where="post", color="tab:green")
    fleet.set_ylabel("replicas")
    fleet.set_ylim(bottom=0)
    done = [job for job in outcome.jobs if job.finished is not None and not job.refused]
    arrivals = [job.arrival.at for job in done]
    firsts = [(job.first_token or 0.0) - job.arrival.at for job in done]
    wholes = [(job.finished or 0.0) - job.arrival.at for job in done]
    latency.scatter(arrivals, wholes, s=3, label="whole answer", color="tab:blue")
    latency.scatter(arrivals, firsts, s=3, label="first token", color="tab:orange")
    refused = [job.arrival.at for job in outcome.jobs if job.refused]
    if refused:
        latency.scatter(refused, [0] * len(refused), s=12, marker="x", label="refused", color="tab:red")
    latency.set_ylabel("seconds after arrival")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right")
    figure.savefig(path, dpi=120)


def _in_system(outcome: Outcome) -> tuple[list[float], list[int]]:
    changes = sorted(
        [(job.arrival.at, 1) for job in outcome.jobs]
        + [(job.finished, -1) for job in outcome.jobs if job.finished is not None]
    )
    times, counts, count = [0.0], [0], 0
    for at, change in changes:
        count += change
        times.append(at)
        counts.append(count)
    return times, counts
