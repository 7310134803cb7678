"""Runs as the record keeps them."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.grid import Grid


def runs_of(grid: Grid) -> list[dict[str, Any]]:
    """Every run's summary with its server, step and repetition."""
    return [
        {
            "server": server,
            "step": step,
            "repetition": repetition + 1,
            "processor_shares": measured.shares,
            **msgspec.to_builtins(measured.summary),
        }
        for (server, step), cells in grid.cells.items()
        for repetition, measured in enumerate(cells)
        if measured
    ]
