"""The tool skill: tool definitions, questions that need them, calls, results and answers."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo_model.phrasing import Split
from tools.demo_model.scene import (
    DO_NOT_KNOW,
    Message,
    Scene,
    city,
    invented_word,
    is_held_out,
    person,
    phrase,
    word,
)
from tools.demo_model.tool_data import (
    CURRENCIES,
    GENERIC_PARAMS,
    GENERIC_QUESTIONS,
    GENERIC_RESULTS,
    GENERIC_VERBS,
    HELD_OUT_GENERIC_QUESTIONS,
    LANGUAGES,
    NEEDS,
    Need,
    Param,
)
from tools.demo_model.words import ADJECTIVES, NOUNS

Value = str | int | float
GENERIC_SHARE: dict[Split, float] = {"train": 0.5, "held_out": 0.4}
NUMBERS = ("number", "large")
PARAM_DESCRIPTIONS = ("The {}.", "The {}", "Name of the {}", "{}", "the {} to use", "The {} name")


@dataclass(frozen=True)
class Offer:
    """A tool on offer in one conversation: a need under a name, with named parameters."""

    need: Need
    function: str
    params: tuple[str, ...]

    def definition(self, rng: Random) -> Message:
        """Return the tool as the API's clients define it."""
        properties: dict[str, Any] = {}
        for param, name in zip(self.need.params, self.params, strict=True):
            properties[name] = {"type": "number" if param.kind in NUMBERS else "string"}
            if param.kind in NUMBERS and rng.random() < 0.4:
                properties[name]["type"] = "integer"
            if rng.random() < 0.3:
                described = rng.choice(PARAM_DESCRIPTIONS).format(name.replace("_", " "))
                properties[name]["description"] = described
        if self.need.params[0].kind == "city" and rng.random() < 0.08:
            properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if rng.random() < 0.85:
            parameters["required"] = list(self.params)
        if rng.random() < 0.15:
            parameters["additionalProperties"] = False
        function: dict[str, Any] = {"name": self.function}
        if rng.random() < 0.8:
            function["description"] = self._description(rng)
        function["parameters"] = parameters
        return {"type": "function", "function": function}

    def _description(self, rng: Random) -> str:
        text = self.need.description
        if rng.random() < 0.2:
            text = f"Use this tool to {text[0].lower()}{text[1:]}"
        return text.rstrip(".") if rng.random() < 0.2 else text


def generic_need(rng: Random, split: Split) -> Need:
    """Make up a need from a verb and a noun; some pairs are kept for evaluation."""
    while True:
        verb, noun = rng.choice(GENERIC_VERBS), rng.choice(NOUNS)
        function = rng.choice((f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}"))
        if is_held_out(f"{verb} {noun}") == (split == "held_out"):
            break
    forms = GENERIC_QUESTIONS if split == "train" else HELD_OUT_GENERIC_QUESTIONS
    param = rng.choice(GENERIC_PARAMS)
    questions = tuple(
        form.replace("{verb}", verb).replace("{noun}", noun).replace("{function}", function) for form in forms
    )
    questions = tuple(q.replace("{value}", "{0}") for q in questions)
    description = f"{verb.capitalize()} the {noun}."
    return Need((function,), description, (param,), questions, questions, GENERIC_RESULTS)


def make_offer(rng: Random, need: Need, split: Split) -> Offer:
    """Name the tool and its parameters, in training now and then by words that help nobody guess."""
    names: list[str] = []
    for param in need.params:
        known = NOUNS if split == "train" and rng.random() < 0.25 else param.names
        names.append(rng.choice([name for name in known if name not in names]))
    return Offer(need, rng.choice(need.functions), tuple(names))


def value_of(rng: Random, param: Param, split: Split) -> Value:
    """Return an argument of the parameter's kind."""
    match param.kind:
        case "number":
            if rng.random() < 0.1:
                return rng.randint(1, 99) + rng.choice((0.5, 0.25, 0.2))
            return rng.randint(1, 10 ** rng.randint(1, 3))
        case "large":
            return rng.randint(10, 10 ** rng.randint(2, 4))
        case "city":
            return city(rng, split)
        case "name":
            return person(rng, split)
        case "phrase":
            return phrase(rng, split, most=4)
        case "language":
            return rng.choice(LANGUAGES)
        case "currency":
            return rng.choice(CURRENCIES)
        case _:
            return rng.choice(NOUNS) if rng.random() < 0.6 else word(rng, split)


def offer_tools(scene: Scene) -> None:
    """Put one to three tools into the scene."""
    rng = scene.rng
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        need = generic_need(rng, scene.split) if rng.random() < GENERIC_SHARE[scene.split] else rng.choice(NEEDS)
        offer = make_offer(rng, need, scene.split)
        offered = [(other.need, other.function) for other in scene.needs]
        if all(need is not n and offer.function != f for n, f in offered):
            scene.needs.append(offer)
            scene.tools.append(offer.definition(rng))


def _ask(rng: Random, offer: Offer, split: Split, values: tuple[Value, ...]) -> str:
    need = offer.need
    text = rng.choice(need.train if split == "train" else need.held_out)
    text = text.replace("{param}", offer.params[0].replace("_", " "))
    for place, value in enumerate(values):
        text = text.replace(f"{{{place}}}", str(value))
    if rng.random() < 0.2:
        text = text.rstrip("?.")
    chance = rng.random()
    first_is_value = text.startswith(tuple(str(v) for v in values))
    if chance < 0.15 and not first_is_value:
        text = text[0].lower() + text[1:]
    else:
        text = text if first_is_value else text[0].upper() + text[1:]
    if split == "train" and rng.random() < 0.06:
        text = f"{rng.choice(('Please,', 'Hi,', 'OK,', 'Hello.', 'Now'))} {text}"
    return text


def call_tool(scene: Scene, answer: bool = True) -> None:
    """Ask for something a tool serves, call it and (if ``answer``) report its result."""
    rng = scene.rng
    offer = rng.choice(scene.needs)
    values = tuple(value_of(rng, param, scene.split) for param in offer.need.params)
    scene.user(_ask(rng, offer, scene.split, values))
    arguments = dict(zip(offer.params, values, strict=True))
    function = {"name": offer.function, "arguments": arguments}
    call = {"id": f"call_{rng.randint(0, 9999)}", "type": "function", "function": function}
    scene.messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    if answer:
        use_result(scene, call)


def use_result(scene: Scene, call: Message) -> None:
    """Append the result of a call and the answer made of it."""
    rng = scene.rng
    need = next(n.need for n in scene.needs if n.function == call["function"]["name"])
    result = rng.choice(need.results).format(
        d=rng.randint(10, 59),
        h=rng.randint(1, 23),
        n=rng.randint(1, 9999),
        y=rng.randint(1800, 2030),
        w=rng.choice(NOUNS),
        a=rng.choice(ADJECTIVES),
        x=invented_word(rng, scene.split),
        p=phrase(rng, scene.split, most=4).replace('"', ""),
    )
    scene.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    scene.assistant(f"The result is {spoken(result)}.")


def spoken(result: str) -> str:
    """Put a tool's result into words: bare text as it is, an object as its members."""
    if not result.startswith("{"):
        return result
    members = json.loads(result)
    if len(members) == 1:
        return str(next(iter(members.values())))
    return ", ".join(f"{key} {value}" for key, value in members.items())


def missing_tool(scene: Scene) -> None:
    """Ask for something that none of the tools on offer serves."""
    rng = scene.rng
    offered = [offer.need for offer in scene.needs]
    need = rng.choice([n for n in NEEDS if n not in offered and n.functions[0] != "add"])
    offer = make_offer(rng, need, scene.split)
    values = tuple(value_of(rng, param, scene.split) for param in need.params)
    scene.exchange(_ask(rng, offer, scene.split, values), DO_NOT_KNOW)
