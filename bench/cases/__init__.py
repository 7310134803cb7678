"""One file a case: each measures and hands back a `Record`."""

from __future__ import annotations

CASES = (
    "decode",
    "streams",
    "streams_cores",
    "streams_prompts",
    "streams_1b",
    "first_token",
    "open_loop",
    "long_prompts",
    "chats",
    "chats_1b",
    "system_prompt",
    "crowd",
    "cold_start",
    "memory",
)
"""In the order in which `all` runs them: function `measure` of the module of that name."""
