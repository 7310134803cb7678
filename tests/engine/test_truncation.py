from __future__ import annotations

from typing import Any

import httpx
import pytest

from ixmodal.engine.truncation import drop_oldest, from_turn, turn_starts
from tests.support.server import Server


def talk(roles: str) -> list[dict[str, Any]]:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": names[role], "content": f"{role}{at}"} for at, role in enumerate(roles)]


def said(messages: list[dict[str, Any]]) -> str:
    return " ".join(message["content"] for message in messages)


def test_a_conversation_may_begin_at_users_messages() -> None:
    assert turn_starts(talk("suauata")) == [1, 3]
    assert turn_starts(talk("au")) == [0, 1]
    assert turn_starts(talk("s")) == [0]


def test_system_messages_are_always_kept() -> None:
    assert said(from_turn(talk("suasu"), 4)) == "s0 s3 u4"


@pytest.mark.parametrize(
    ("roles", "most", "kept"),
    [
        ("suaua", None, "s0 u1 a2 u3 a4"),
        ("suaua", 4, "s0 u1 a2 u3 a4"),
        ("suaua", 3, "s0 u3 a4"),
        ("suaua", 2, "s0 u3 a4"),
        ("suaua", 1, "s0 u3 a4"),  # the last turn is never cut
        ("uatau", 1, "u4"),
    ],
)
def test_whole_turns_are_dropped(roles: str, most: int | None, kept: str) -> None:
    assert said(drop_oldest(talk(roles), most)) == kept


def test_over_http(scripted: Server) -> None:
    long = [{"role": "user" if at % 2 == 0 else "assistant", "content": "x" * 900} for at in range(6)]
    messages = [{"role": "system", "content": "rules"}, *long, {"role": "user", "content": "say:short"}]

    def post(**fields: Any) -> httpx.Response:
        body = {"model": "demo", "messages": messages, "max_tokens": 20, **fields}
        return httpx.post(f"{scripted.url}/v1/chat/completions", json=body, timeout=30)

    assert post().json()["error"]["code"] == "context_length_exceeded"
    assert post(truncation="disabled").status_code == 400
    answer = post(truncation="auto").json()
    assert answer["choices"][0]["message"]["content"] == "short"
    assert answer["usage"]["dropped_messages"] == 2
    assert answer["usage"]["prompt_tokens"] > 3600
