"""Score the model: ``python -m tools.demo_model.evaluate``.

By default it drives a served OpenAI-compatible API at temperature 0; ``--direct`` runs the GGUF
file in this process instead.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.demo_model.cases import Case, all_cases
from tools.demo_model.prompts import MODEL_PATH

TARGETS = {"facts": 0.95}
OTHER_TARGET = 0.80
CALL_START, CALL_END = "<tool_call>\n", "\n</tool_call>"


@dataclass(frozen=True)
class Reply:
    """What came back: text, or the one call as name and arguments."""

    text: str
    call: dict[str, Any] | None = None


@dataclass
class Score:
    """Right and asked, and the failures to look at."""

    right: int = 0
    asked: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


Answer = Callable[[Case], Reply]


def direct(path: Path) -> Answer:
    """Answer with ctransformers in this process."""
    from tools.demo_model.native import NativeModel

    model = NativeModel(path)

    def answer(case: Case) -> Reply:
        text = model.answer(case.messages, case.tools)
        if text.startswith(CALL_START) and text.endswith(CALL_END):
            try:
                call = json.loads(text.removeprefix(CALL_START).removesuffix(CALL_END))
            except ValueError:
                return Reply(text)
            return Reply("", call)
        return Reply(text)

    return answer


def served(base_url: str, model: str) -> Answer:
    """Answer through the API."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))

    def answer(case: Case) -> Reply:
        extra: dict[str, Any] = {"tools": case.tools} if case.tools else {}
        response = client.chat.completions.create(
            model=model,
            messages=[wire(message) for message in case.messages],  # type: ignore[misc]  # plain dicts
            temperature=0,
            max_tokens=120,
            **extra,
        )
        choice = response.choices[0]
        text = choice.message.content or ""
        if choice.message.tool_calls:
            function = choice.message.tool_calls[0].function  # type: ignore[union-attr]  # the SDK's union of items
            call = {"name": function.name, "arguments": json.loads(function.arguments)}
            return Reply(text, call)
        return Reply(text if choice.finish_reason == "stop" else text + "…")

    return answer


def wire(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the API takes it: arguments are a JSON string there."""
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**call["function"], "arguments": text}})
    return {**message, "tool_calls": calls}


def is_right(case: Case, reply: Reply) -> bool:
    """Judge a reply: the exact sentence, or the exact call."""
    if case.call is not None:
        return reply.call == case.call
    return reply.call is None and reply.text.strip() in case.accepted


def evaluate(cases: Iterable[Case], answer: Answer) -> dict[str, Score]:
    """Ask every case."""
    scores: dict[str, Score] = {}
    for case in cases:
        score = scores.setdefault(case.skill, Score())
        reply = answer(case)
        score.asked += 1
        if is_right(case, reply):
            score.right += 1
            continue
        expected = case.call or list(case.accepted)
        got = reply.call or reply.text
        asked = case.messages[-1]["content"]
        score.failures.append({"asked": asked, "expected": expected, "got": got})
    return scores


def table(scores: dict[str, Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| skill | right | asked | share | target |", "|---|---|---|---|---|"]
    for skill, score in scores.items():
        target = TARGETS.get(skill, OTHER_TARGET)
        share = score.right / score.asked
        mark = "" if share >= target else " (missed)"
        row = f"| {skill} | {score.right} | {score.asked} | {share:.1%} | {target:.0%}{mark} |"
        lines.append(row)
    return "\n".join(lines)


def main() -> None:
    """Run the evaluation, print the table and write the details."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model-name", default="demo")
    parser.add_argument("--direct", action="store_true", help="run the file, not the API")
    parser.add_argument("--model", type=Path, default=MODEL_PATH)
    parser.add_argument("--out", type=Path, default=Path("build/demo_model/evaluation.json"))
    parser.add_argument("--count", type=int, default=100, help="cases for each generated skill")
    arguments = parser.parse_args()
    chosen = direct(arguments.model) if arguments.direct else served(
        arguments.base_url, arguments.model_name
    )  # fmt: skip
    scores = evaluate(all_cases(count=arguments.count), chosen)
    print(table(scores))
    details = {skill: vars(score) for skill, score in scores.items()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(details, ensure_ascii=False, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
