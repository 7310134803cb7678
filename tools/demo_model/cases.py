"""Evaluation cases: requests in phrasings that training never shows, and the right answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo_model import skills, tool_skill
from tools.demo_model.scene import Message, Scene
from tools.demo_model.words import HELD_OUT_SYSTEM_PROMPTS, SYSTEM_PROMPTS

SEED = 20_231_105


@dataclass(frozen=True)
class Case:
    """One request; any of ``accepted`` is a right answer, or ``call`` is the right call."""

    skill: str
    messages: list[Message]
    tools: list[Message]
    accepted: tuple[str, ...] = ()
    call: dict[str, Any] | None = None


def _scene(rng: Random, *, tools: bool = False) -> Scene:
    scene = Scene(rng, "held_out")
    if rng.random() < 0.4:
        prompts = SYSTEM_PROMPTS + HELD_OUT_SYSTEM_PROMPTS
        scene.messages.append({"role": "system", "content": rng.choice(prompts)})
    if tools:
        tool_skill.offer_tools(scene)
    return scene


def _closed(skill: str, scene: Scene) -> Case:
    """Take the last answer away."""
    last = scene.messages.pop()
    call = last["tool_calls"][0]["function"] if last.get("tool_calls") else None
    accepted = () if call else scene.accepted
    return Case(skill, scene.messages, scene.tools, accepted, call)


def _warm_up(scene: Scene, most: int) -> None:
    turns = (skills.fact, skills.small_talk, skills.add, skills.repeat)
    for _ in range(scene.rng.randint(0, most)):
        scene.rng.choice(turns)(scene)


def fact_cases(rng: Random, rounds: int = 2) -> Iterator[Case]:
    """Ask every fact; those with answers outside ASCII count as a skill of their own too."""
    for number in range(rounds):
        for which in skills.FACTS:
            scene = _scene(rng)
            _warm_up(scene, 2 * number)
            skills.fact(scene, which)
            case = _closed("facts", scene)
            yield case
            if not case.accepted[0].isascii():
                yield Case("non_ascii", case.messages, case.tools, case.accepted)


def _simple(
    rng: Random, skill: str, turn: Callable[[Scene], None], count: int, *, tools: bool = False
) -> Iterator[Case]:
    for number in range(count):
        scene = _scene(rng, tools=tools)
        if number % 2:
            _warm_up(scene, 3)
        turn(scene)
        yield _closed(skill, scene)


def name_cases(rng: Random, count: int) -> Iterator[Case]:
    """Tell a held-out name, talk for one to three turns, ask for the name."""
    for _ in range(count):
        scene = _scene(rng)
        skills.tell_name(scene)
        skills.small_talk(scene)
        _warm_up(scene, 2)
        skills.ask_name(scene)
        yield _closed("name", scene)


def _call_only(scene: Scene) -> None:
    tool_skill.call_tool(scene, answer=False)


def _no_tool_needed(scene: Scene) -> None:
    scene.rng.choice((skills.fact, skills.small_talk))(scene)


def _mixed(scene: Scene) -> None:
    turns = (skills.fact, skills.add, skills.repeat, skills.tell_name, skills.ask_name)
    for turn in scene.rng.choices(turns, k=scene.rng.randint(6, 14)):
        turn(scene)


def all_cases(seed: int = SEED, count: int = 100) -> list[Case]:
    """Return the whole evaluation, the same for a seed."""
    rng = Random(seed)
    return [
        *fact_cases(rng),
        *_simple(rng, "small_talk", skills.small_talk, count),
        *_simple(rng, "do_not_know", skills.unknown, count),
        *_simple(rng, "sums", skills.add, count),
        *_simple(rng, "repeat", skills.repeat, count),
        *name_cases(rng, count),
        *_simple(rng, "no_name_told", skills.ask_name, count // 4),
        *_simple(rng, "tool_call", _call_only, count, tools=True),
        *_simple(rng, "tool_result", tool_skill.call_tool, count, tools=True),
        *_simple(rng, "no_tool_needed", _no_tool_needed, count, tools=True),
        *_simple(rng, "long_mixed", _mixed, count // 2),
    ]
