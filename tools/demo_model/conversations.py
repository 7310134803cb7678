"""Training conversations: mixed skills over one to many turns, with and without tools.

Copying is the skill that comes last, so a first stage consists mostly of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from tools.demo_model import skills, tool_skill
from tools.demo_model.scene import Message, Scene
from tools.demo_model.words import SYSTEM_PROMPTS

Turn = Callable[[Scene], None]
Stage = Literal["copy", "full"]

PLAIN_TURNS: dict[Turn, float] = {
    skills.fact: 36,
    skills.small_talk: 14,
    skills.add: 14,
    skills.repeat: 20,
    skills.unknown: 9,
    skills.tell_name: 5,
    skills.ask_name: 5,
    tool_skill.missing_tool: 2,
}
COPY_TURNS: dict[Turn, float] = {
    skills.repeat: 55,
    skills.fact: 15,
    skills.tell_name: 8,
    skills.ask_name: 8,
    skills.small_talk: 6,
    skills.add: 4,
    skills.unknown: 4,
}
TOOL_TURNS: dict[Turn, float] = {
    tool_skill.call_tool: 75,
    skills.fact: 14,
    skills.small_talk: 8,
    skills.add: 3,
    skills.repeat: 6,
    skills.stranger: 3,
    skills.tell_name: 2,
    skills.ask_name: 2,
    tool_skill.missing_tool: 2,
}
LENGTHS = (1, 1, 1, 2, 2, 3, 3, 4, 5, 6)
TOOL_LENGTHS = (1, 3, 4, 5, 6, 7)
LONG_SHARE = 0.03
NAME_SHARE = 0.15
TOOL_SHARE: dict[Stage, float] = {"copy": 0.15, "full": 0.6}


@dataclass(frozen=True)
class Conversation:
    """What a chat request holds, with the answers in place."""

    messages: list[Message]
    tools: list[Message]


def converse(rng: Random, stage: Stage = "full") -> Conversation:
    """Return one training conversation."""
    scene = Scene(rng)
    turns = PLAIN_TURNS if stage == "full" else COPY_TURNS
    lengths: tuple[int, ...] = LENGTHS
    if rng.random() < 0.4:
        scene.messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    if rng.random() < TOOL_SHARE[stage]:
        tool_skill.offer_tools(scene)
        turns, lengths = TOOL_TURNS, TOOL_LENGTHS
    length = rng.choice(lengths)
    if rng.random() < LONG_SHARE:
        length = rng.randint(15, 36) // (2 if scene.tools else 1)
    kinds, weights = tuple(turns), tuple(turns.values())
    sequence = rng.choices(kinds, weights, k=length)
    if rng.random() < NAME_SHARE:
        sequence = [skills.tell_name, *sequence, skills.ask_name]
    for turn in sequence:
        turn(scene)
    return Conversation(scene.messages, scene.tools)
