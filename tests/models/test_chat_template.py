from __future__ import annotations

import contextlib
import datetime
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixmodal.errors import InvalidRequestError
from ixmodal.models.chat_template import ChatTemplate, ControlGuard, Piece
from ixmodal.models.vocabulary import TokenType, Vocabulary

CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<|function|>", "<|user|>")
PROPERTY = settings(max_examples=150, deadline=None, database=None, derandomize=True)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
WITH_ROLES_AS_TOKENS = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"


def vocabulary(control: Iterable[str]) -> Vocabulary:
    texts = [text.encode() for text in control]
    return Vocabulary(texts, [TokenType.CONTROL] * len(texts), bos_id=0, eos_id=1)


@functools.cache
def template(source: str, control: tuple[str, ...] = CONTROL) -> ChatTemplate:
    return ChatTemplate(source, vocabulary(control))


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece if isinstance(piece, str) else CONTROL[piece] for piece in pieces)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [piece for piece in pieces if isinstance(piece, int)]


def refusal(render: Callable[[], Any]) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        render()
    assert (caught.value.param, caught.value.code) == ("messages", "chat_template_error")
    return caught.value.message


def test_chatml_in_pieces() -> None:
    pieces = template(CHATML).render([said("system", "Be kind."), said("user", "你好 😀")])
    assert pieces == [2, "system\nBe kind.", 3, "\n", 2, "user\n你好 😀", 3, "\n", 2, "assistant\n"]


def test_mistral_in_pieces() -> None:
    pieces = template(MISTRAL).render([said("user", "a"), said("assistant", "b"), said("user", "c")])
    assert pieces == [0, 4, " a ", 5, "b", 1, " ", 4, " c ", 5]


def test_a_template_refuses_in_its_own_words() -> None:
    render = template(MISTRAL).render
    expected = "Conversation roles must alternate user/assistant/user/assistant/..."
    assert refusal(lambda: render([said("user", "a"), said("user", "b")])) == expected
    assert (
        refusal(lambda: render([said("user", "a"), said("tool", "b")]))
        == "Only user and assistant roles are supported!"
    )


def test_zephyr_keeps_what_is_no_control_token_as_text() -> None:
    pieces = template(ZEPHYR).render([said("system", "s"), said("user", "u")])
    assert pieces == ["<|system|>\ns", 1, "\n", 8, "\nu", 1, "\n<|assistant|>\n"]


def test_llama_2_strips_and_folds_the_system_message() -> None:
    messages = [said("system", "Be brief."), said("user", "  hi  "), said("assistant", "ho "), said("user", "bye")]
    pieces = template(LLAMA_2).render(messages)
    system = " <<SYS>>\nBe brief.\n<</SYS>>\n\n  hi "
    assert pieces == [0, 4, system, 5, " ho ", 1, 0, 4, " bye ", 5]


def test_roles_may_be_part_of_control_tokens() -> None:
    assert template(WITH_ROLES_AS_TOKENS).render([said("user", "hi"), said("other", "ho")]) == [8, "hi<|other|>ho"]


def test_names_of_the_api_are_found_even_where_a_control_token_contains_them() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.type }}:{{ c.function.name }}{% endfor %}{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert text_of(template(source).render([message])) == "function:f"
    compared = "{% if tools[0].type == 'function' %}yes{% endif %}"
    assert template(compared).render([], [{"type": "function"}]) == ["yes"]


FRAGMENTS = sorted(
    {token[:end] for token in CONTROL for end in range(1, len(token) + 1)}
    | {token[start:] for token in CONTROL for start in range(len(token))}
    | {"", " ", "\n", "user", "function", "|", "x", "😀", "\ufdd0", "<|", "|>"}
)
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=6).map("".join)
ADJOINING = (
    "{{ bos_token }}<|{% for m in messages %}{{ m.content }}{{ m.content }}{{ m.name }}{{ m.content | trim }}"
    "{{ m.name | trim }}<|im_{{ m.content }}start|>[{{ m.name }}]<{{ m.content }}|{{ m.content }}"
    "{{ m.content | lower }}{{ m.name | upper }}{% endfor %}|>{{ tools | tojson }}{{ eos_token }}"
)


def made_harmless(text: str) -> str:
    return "-" if text.strip() else text  # what a template writes around nothing is its own


@pytest.mark.parametrize(
    "source", [CHATML, ZEPHYR, LLAMA_2, ADJOINING], ids=["chatml", "zephyr", "llama2", "adjoining"]
)
@PROPERTY
@given(contents=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), key=TEXTS)
def test_a_users_text_never_becomes_a_control_token(source: str, contents: list[tuple[str, str]], key: str) -> None:
    rendered = template(source)

    def render(pairs: list[tuple[str, str]], key: str) -> list[Piece]:
        messages = [said("user", content) | {"name": name} for content, name in pairs]
        return rendered.render(messages, [{"role": pairs[0][0], "type": pairs[0][1], key: {"role": key}}])

    pieces = render(contents, key)
    harmless = render([(made_harmless(content), made_harmless(name)) for content, name in contents], "-")
    assert ids_of(pieces) == ids_of(harmless)


@PROPERTY
@given(contents=st.lists(TEXTS, min_size=1, max_size=4))
def test_text_is_preserved_exactly(contents: list[str]) -> None:
    messages = [said("user", content) for content in contents]
    expected = "".join(f"<|im_start|>user\n{content}<|im_end|>\n" for content in contents) + "<|im_start|>assistant\n"
    assert text_of(template(CHATML).render(messages)) == expected


@PROPERTY
@given(
    control=st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, unique=True), text=st.text("ab<", max_size=12)
)
def test_overlapping_control_tokens_are_kept_apart_from_text(control: list[str], text: str) -> None:
    guard = ControlGuard({token: index for index, token in enumerate(control)})
    mark = guard.choose_mark(text)
    assert guard.split(guard.apply(text, mark), mark) == ([text] if text else [])
    assert guard.split(guard.apply([text, text], mark)[0] * 2, mark) == ([text * 2] if text else [])


def test_the_longest_control_token_wins() -> None:
    assert template("<s><s>x", ("<s>", "</s>", "<s><s>")).render([]) == [2, "x"]


def test_texts_of_every_noncharacter_but_one_leave_room_for_a_mark() -> None:
    every = "".join(map(chr, range(0xFDD0, 0xFDF0)))
    content = "<|im_end|>" + every[:-1]
    assert ids_of(template(CHATML).render([said("user", content)])) == [2, 3, 2]
    with pytest.raises(InvalidRequestError, match="noncharacter"):
        template(CHATML).render([said("user", every)])


def test_a_model_without_control_tokens_has_text_only() -> None:
    assert ChatTemplate(CHATML, Vocabulary([b"<s>"], [TokenType.NORMAL], bos_id=None, eos_id=None)).render(
        [said("user", "</s>")]
    ) == ["<|im_start|>user\n</s><|im_end|>\n<|im_start|>assistant\n"]


def test_tojson_keeps_characters_and_order() -> None:
    tool = {"type": "function", "function": {"name": "wetter", "beschreibung": "für <Köln> & 'Bonn'"}}
    assert text_of(template("{{ tools[0] | tojson }}").render([], [tool])) == json.dumps(tool, ensure_ascii=False)
    indented = text_of(template("{{ tools | tojson(indent=4) }}").render([], [tool]))
    assert indented == json.dumps([tool], ensure_ascii=False, indent=4)
    compact = text_of(template("{{ tools | tojson(separators=(',', ':'), sort_keys=true) }}").render([], [tool]))
    assert compact == json.dumps([tool], ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def test_control_tokens_in_tools_stay_text_in_every_key() -> None:
    tools = [{"parameters": {"properties": {"role": {"role": "<|im_end|>", "type": "</s>", "<s>": 1}}}}]
    pieces = template("{{ tools | tojson }}").render([], tools)
    assert pieces == [json.dumps(tools)]


def test_without_tools_a_template_sees_none() -> None:
    assert template("{{ tools is none }}").render([]) == ["True"]


def test_strftime_now_is_the_local_time() -> None:
    (piece,) = template("{{ strftime_now('%Y-%m-%d') }}").render([])
    today = datetime.datetime.now().date()
    assert datetime.date.fromisoformat(str(piece)) in (today, today - datetime.timedelta(days=1))


def test_loop_controls_are_known() -> None:
    assert template("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}").render([]) == [
        "01"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__ }}{{ messages.__class__.__mro__ }}",
        "{{ raise_exception.__globals__ }}{{ raise_exception.__globals__['jinja2'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.environment.x() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ ('{0.__class__}' | format) . format('') }}",
    ],
)
def test_the_sandbox_lets_nothing_out(source: str) -> None:
    refused_or_empty = ""
    with contextlib.suppress(InvalidRequestError):
        refused_or_empty = text_of(template(source).render([said("user", "x")]))
    assert "class" not in refused_or_empty
    assert "module" not in refused_or_empty
    assert "uid" not in refused_or_empty


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ 1000000000 * 'x' }}",
        "{{ [0] * 100000000 }}",
        "{{ ('x' * 1000000) * 1000000 }}",
        "{% set n = 1000000 %}{% set x = ['x'] * n %}{{ x * n }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 10000000000 * 10000000000 }}",
        "{{ range(1000000000) | list }}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 1 / 0 }}",
        "{{ messages[99].content }}",
        "{{ undefined.attribute }}",
        "{{ messages + 1 }}",
        "{{ none | tojson(indent=object) }}{{ undefined | tojson }}",
    ],
)
def test_a_template_that_runs_wild_is_refused(source: str) -> None:
    assert refusal(lambda: template(source).render([said("user", "x")]))


def test_arithmetic_of_ordinary_size_works() -> None:
    assert template("{{ '-' * 3 ~ 2 * 3 ~ 1.5 * 2 }}").render([]) == ["---63.0"]


def test_deeply_nested_tools_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert "recursion" in refusal(lambda: template("{{ tools | tojson }}").render([], [deep]))


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{", "{% for x in y %}", "{% unknown %}", "{{ x | nofilter }}", "{{ " + "(" * 500]
)
def test_what_is_no_template_is_refused_when_compiled(source: str) -> None:
    with pytest.raises(ValueError, match="can't be compiled"):
        template(source)
