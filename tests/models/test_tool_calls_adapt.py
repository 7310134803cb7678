from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ixmodal.models.chat_template import ChatTemplate
from ixmodal.models.tool_calls import CallArguments, CallEnded, CallStarted, choose_format
from ixmodal.models.tool_calls.formats import GENERIC, HERMES
from ixmodal.models.vocabulary import TokenType, Vocabulary

DEMO = (Path(__file__).parents[2] / "tools" / "demo_model" / "chat_template.jinja").read_text()
CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "[TOOL_CALLS]")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.last %}{{ '[AVAILABLE_TOOLS]' + tools | tojson }}{% endif %}{{ '[INST]' + m.content }}"
    "{% elif m.tool_calls is defined and m.tool_calls is not none %}{{ '[TOOL_CALLS][' }}"
    "{% for call in m.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('ids must have length 9') }}{% endif %}"
    "{{ (call.function | tojson)[:-1] + ', \"id\": \"' + call.id + '\"}' }}{{ ', ' if not loop.last }}{% endfor %}]"
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS]' + m.tool_call_id + m.content }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
LLAMA = (
    "{% if tools is not none %}Environment: ipython\n{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "{% if 'tool_calls' in m %}"
    "{% if not m.tool_calls | length == 1 %}{{ raise_exception('only single tool-calls at once!') }}{% endif %}"
    "{% set call = m.tool_calls[0].function %}"
    '{{ \'{"name": "\' + call.name + \'", "parameters": \' + call.arguments | tojson + "}\n" }}'
    "{% else %}{{ m.role + ': ' + m.content + '\n' }}{% endif %}{% endfor %}"
)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": None,
    },
}
SHOWN = {"type": "function", "function": {k: v for k, v in TOOL["function"].items() if k != "strict"}}


def call(city: str, id: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"arguments": arguments, "name": "get_weather"}}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Köln and Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [call("Köln", "call_1"), call("Rome", "call_2")]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "tool", "tool_call_id": "call_2", "content": "sun"},
    {"role": "assistant", "content": "Rain and sun.", "tool_calls": None},
    {"role": "user", "content": "Thanks"},
]
BLOCKS = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
)
RESULTS = "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"


def rendered(source: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    texts = [text.encode() for text in CONTROL]
    vocabulary = Vocabulary(texts, [TokenType.CONTROL] * len(texts), bos_id=0, eos_id=1)
    before = json.dumps([messages, tools])
    pieces = ChatTemplate(source, vocabulary).render(*choose_format(source).adapt(messages, tools))
    assert json.dumps([messages, tools]) == before
    return "".join(piece if isinstance(piece, str) else CONTROL[piece] for piece in pieces)


def test_the_demo_template_shows_tools_calls_and_results() -> None:
    assert choose_format(DEMO) is HERMES
    text = rendered(DEMO, CONVERSATION, [TOOL])
    assert text == (
        "<|im_start|>system\n# Tools\n\nYou may call these functions:\n<tools>\n"
        + json.dumps(SHOWN)
        + '\n</tools>\nTo call one, answer:\n<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\nWeather in Köln and Rome?<|im_end|>\n"
        f"<|im_start|>assistant\n{BLOCKS}<|im_end|>\n"
        f"<|im_start|>user\n{RESULTS}<|im_end|>\n"
        "<|im_start|>assistant\nRain and sun.<|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("content", ["", "Let me look."])
@pytest.mark.parametrize("template", [DEMO, CHATML])
def test_what_was_rendered_is_parsed_again(template: str, content: str) -> None:
    message = {**CONVERSATION[1], "content": content}
    text = rendered(template, [CONVERSATION[0], message], [TOOL])
    answer = text.split("<|im_start|>assistant\n")[1].removesuffix("<|im_end|>\n")
    parser = choose_format(template).parser(["get_weather"])
    events = parser.push(answer) + parser.flush()
    assert answer.removeprefix(content).lstrip() == BLOCKS
    assert events[-6:] == [
        CallStarted(0, "get_weather"),
        CallArguments(0, '{"city": "Köln"}'),
        CallEnded(0),
        CallStarted(1, "get_weather"),
        CallArguments(1, '{"city": "Rome"}'),
        CallEnded(1),
    ]
    assert len(events) == (7 if content else 6)


def test_arguments_that_are_no_object_stay_text() -> None:
    broken = call("x", "1")
    message = {"role": "assistant", "content": "", "tool_calls": [broken]}
    for text, expected in [
        ('{"city": "Pa', '{"city": "Pa'),
        ("[1]", "[1]"),
        ("", {}),
        ("[" * 100_000, "[" * 100_000),
    ]:
        broken["function"]["arguments"] = text
        [adapted], _ = HERMES.adapt([message], [])
        assert adapted["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": expected}


def test_templates_that_know_no_tools_are_told_in_the_system_message() -> None:
    assert choose_format(CHATML) is GENERIC
    text = rendered(CHATML, [{"role": "system", "content": "Be brief."}, *CONVERSATION], [TOOL])
    system, *turns = text.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n\nYou can call these functions:\n<tools>\n")
    assert json.dumps(SHOWN) in system
    assert '<tool_call>\n{"name": "the function\'s name", "arguments": {' in system
    assert turns == [
        "<|im_start|>user\nWeather in Köln and Rome?",
        f"<|im_start|>assistant\n{BLOCKS}",
        f"<|im_start|>user\n{RESULTS}",
        "<|im_start|>assistant\nRain and sun.",
        "<|im_start|>user\nThanks",
        "<|im_start|>assistant\n",
    ]


def test_a_system_message_is_added_where_there_is_none() -> None:
    messages, tools = GENERIC.adapt(CONVERSATION, [TOOL])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert tools == []
    without, tools = GENERIC.adapt(CONVERSATION, [])
    assert (without, tools) == (messages[1:], [])


def test_roles_alternate_and_no_system_message_is_added_where_it_is_refused() -> None:
    hurried = [*CONVERSATION[:4], {"role": "user", "content": "Well?"}]
    text = rendered(ALTERNATING, hurried, [TOOL])
    assert text.startswith("<s>[INST] # Tools\n")
    assert "plain text.\n\nWeather in Köln and Rome? [/INST]<tool_call>" in text
    assert text.endswith(f"</s>[INST] {RESULTS}\n\nWell? [/INST]")
    messages, _ = choose_format(ALTERNATING).adapt([CONVERSATION[4]], [TOOL])
    assert [message["role"] for message in messages] == ["user", "assistant"]


def test_mistral_gets_ids_of_nine_characters() -> None:
    text = rendered(MISTRAL, CONVERSATION, [TOOL])
    calls = text.partition("[TOOL_CALLS]")[2].partition("[TOOL_RESULTS]")[0]
    first, second = json.loads(calls)
    assert list(first) == ["name", "arguments", "id"]
    assert first["arguments"] == {"city": "Köln"}
    assert f"[TOOL_RESULTS]{first['id']}rain[TOOL_RESULTS]{second['id']}sunRain and sun.</s>" in text
    kept = [{**CONVERSATION[1], "tool_calls": [call("Köln", "abcDEF123")]}]
    assert '"id": "abcDEF123"' in rendered(MISTRAL, kept, [])


def test_llama_gets_one_call_a_message() -> None:
    late = [{**CONVERSATION[1], "content": "Hm."}, *reversed(CONVERSATION[2:4])]
    stray = {"role": "tool", "tool_call_id": "?", "content": "fog"}
    text = rendered(LLAMA, [*late, stray], [TOOL])
    assert text.endswith(
        '{"name": "get_weather", "parameters": {"city": "Köln"}}\ntool: rain\n'
        '{"name": "get_weather", "parameters": {"city": "Rome"}}\ntool: sun\ntool: fog\n'
    )
    assert "Environment: ipython" in text
