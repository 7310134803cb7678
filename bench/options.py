"""What the command line says to all cases."""

from __future__ import annotations

from dataclasses import dataclass

from bench.servers import NAMES


@dataclass(frozen=True)
class Options:
    """Overrides; None leaves a case its own choice."""

    servers: tuple[str, ...] = NAMES
    repetitions: int | None = None
    streams: tuple[int, ...] | None = None
    threads: int = 1
    record: bool = False
