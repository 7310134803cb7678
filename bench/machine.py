"""What a benchmark's record says of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory in GiB and the load when asked."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": names[0] if names else "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "load": [round(value, 2) for value in os.getloadavg()],
    }
