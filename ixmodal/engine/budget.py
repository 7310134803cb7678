"""How the tokens of one forward are shared among the sequences in it."""

from __future__ import annotations

from collections.abc import Sequence


def share(wanted: Sequence[int], budget: int) -> list[int]:
    """Give each what it wants, or an equal share of what those who want less leave (max-min fairness).

    Decoding sequences want one token and so always get it; prompts share the rest, the shorter being read first.
    `budget` is at least one token for each.
    """
    if sum(wanted) <= budget:
        return list(wanted)
    given, left = [0] * len(wanted), budget
    for done, at in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[at] = min(wanted[at], left // (len(wanted) - done))
        left -= given[at]
    return given
