"""What processes use: processor time and memory, of a server and all that it started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants, as far as they live."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def role(process: psutil.Process) -> str:
    """`engine` for ixmodal's engine processes, else `server`."""
    return "engine" if "ixmodal.engine.worker" in " ".join(process.cmdline()) else "server"


def processor_seconds(pid: int) -> dict[str, float]:
    """User and system time since their start, by role."""
    found: dict[str, float] = {}
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):  # it ended just now
            times, name = process.cpu_times(), role(process)
            found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def proportional_mib(pid: int) -> dict[str, float]:
    """Proportional set size (PSS) in MiB: pages that several processes share are split between them.

    `anonymous` is what they have for themselves, `file` what is mapped: libraries and the model.
    """
    found = {"total": 0.0, "anonymous": 0.0, "file": 0.0}
    names = {"Pss:": "total", "Pss_Anon:": "anonymous", "Pss_File:": "file"}
    for process in tree(pid):
        with suppress(OSError):  # it ended just now
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, value = line.split()[:2]
                if name in names:
                    found[names[name]] += int(value) / 1024
    return found
