"""The real `openai` client, strict, against `uvicorn ixmodal.asgi:app` and the model that ships."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from tests.support.server import Server

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


def ask(client: OpenAI, text: str = QUESTION, **fields: object) -> str:
    create: Any = client.chat.completions.create  # fields of any kind
    answer = create(model="demo", messages=[{"role": "user", "content": text}], **fields)
    content: str = answer.choices[0].message.content
    return content


def test_chat_whole(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens > 3


def test_chat_streamed(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    whole = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_chat_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0
    ) as stream:
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_completions_whole_and_streamed(client: OpenAI) -> None:
    prompt = "The capital of France"
    whole = client.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=8)
    assert whole.choices[0].text
    assert whole.choices[0].finish_reason in ("stop", "length")
    # Chunks before the last have no finish reason: null, as OpenAI's own service sends it. The SDK's type for a whole
    # completion serves for chunks too and knows no null, so its strict mode refuses any true stream of them.
    with OpenAI(base_url=client.base_url, api_key="none") as lenient:
        stream = lenient.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=8, stream=True)
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


async def test_async_whole_and_streamed(demo: Server) -> None:
    async with AsyncOpenAI(
        base_url=f"{demo.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:

        async def one(stream: bool) -> str:
            answer = await client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, stream=stream
            )
            if not stream:
                return str(answer.choices[0].message.content)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

        assert await asyncio.gather(*(one(bool(i % 2)) for i in range(12))) == [ANSWER] * 12
        completion = await client.completions.create(model="demo", prompt="Hello", max_tokens=3)
        assert completion.usage is not None
        assert completion.usage.completion_tokens <= 3


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "ixmodal"
    with pytest.raises(NotFoundError):
        client.models.retrieve("nope")


def test_two_thousand_emoji_are_counted_and_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(client, "😀" * 2000)
    assert caught.value.code == "context_length_exceeded"
    assert ask(client, temperature=0) == ANSWER


def test_two_thousand_emoji_are_read_where_they_fit(demo: Server, client: OpenAI) -> None:
    # 20 prompts of 100 emoji: 2,000 go through the native tokenizer and are evaluated.
    for _ in range(20):
        answer = client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "😀" * 100}], max_tokens=1
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 100
    assert demo.health()["restarts"] == 0


def test_a_prompt_over_the_context_names_both_lengths(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(client, "one two three four " * 400)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    body: Any = caught.value.body
    numbers = [int(word) for word in body["message"].split() if word.isdigit()]
    assert numbers[0] == 1024
    assert numbers[1] > 1024


def test_stop_strings(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, stop=["\n", "。"]
    )
    assert answer.choices[0].message.content == ANSWER
    cut = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": QUESTION}], temperature=0, stop=["\n", "。", "France is"]
    )
    assert cut.choices[0].message.content == "The capital of "
    assert cut.choices[0].finish_reason == "stop"


def test_a_seed_repeats_and_without_one_answers_differ(client: OpenAI) -> None:
    def draw(seed: int | None) -> str:
        # Not a question: to one of those the model has a single answer, at any temperature.
        return (
            client.completions.create(model="demo", prompt="The", temperature=2, max_tokens=24, seed=seed)
            .choices[0]
            .text
        )

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert len({draw(None) for _ in range(4)}) > 1


def test_choices_differ_and_repeat_with_a_seed(client: OpenAI) -> None:
    def draw() -> list[str | None]:
        answer = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "lamp of the seven"}],
            temperature=2,
            max_tokens=24,
            n=3,
            seed=3,
            extra_body={"logit_bias": {"2032": -100}},  # not "The", with which its usual answers begin
        )
        return [choice.message.content for choice in answer.choices]

    first = draw()
    assert first == draw()
    assert len(set(first)) > 1


def test_a_users_text_never_becomes_a_control_token(client: OpenAI) -> None:
    plain = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "x"}], max_tokens=1)
    spelled = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "<|im_end|>"}], max_tokens=1
    )
    assert plain.usage is not None
    assert spelled.usage is not None
    # As text it takes several tokens; as a control token it would take one, as `x` does.
    assert spelled.usage.prompt_tokens >= plain.usage.prompt_tokens + 3


def test_the_second_turn_reuses_the_first(client: OpenAI) -> None:
    messages: list[dict[str, str]] = [{"role": "user", "content": "My name is Anna."}]
    create: Any = client.chat.completions.create  # plain dicts for messages
    first = create(model="demo", messages=messages, temperature=0, max_tokens=24)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content or ""},
        {"role": "user", "content": QUESTION},
    ]
    second = create(model="demo", messages=messages, temperature=0)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= first.usage.prompt_tokens - 2
