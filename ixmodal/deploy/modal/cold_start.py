"""Where the seconds of a cold start go, as one line of a replica's log."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STARTED_FIELD = 19
"""Of `/proc/PID/stat` after the name in parentheses: clock ticks from boot to start; see proc_pid_stat(5)."""


class ColdStart:
    """Seconds of each stage, from this process's start on. A snapshot taken in between begins anew."""

    def __init__(self) -> None:
        self._stages: dict[str, float] = {}
        self._since = _process_start()

    def end(self, stage: str) -> None:
        """Mark the end of a stage, which began where the last one ended."""
        now = time.monotonic()
        self._stages[stage] = now - self._since
        self._since = now

    def restart(self) -> None:
        """Forget what a snapshot has made cheap."""
        self._stages.clear()
        self._since = time.monotonic()

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self._stages.items())
        return f"ready after {sum(self._stages.values()):.2f} s: {stages}"


def _process_start() -> float:
    """When this process was started, on the clock of `time.monotonic`; now, where the system does not tell."""
    now = time.monotonic()
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[_STARTED_FIELD]) / os.sysconf("SC_CLK_TCK")
        return now - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError):
        return now
