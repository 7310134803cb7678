"""The real server over the llama.cpp engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import OpenAI

from tests.support.modern_files import write_qwen2
from tests.support.server import DEMO, Server, serve

STREAMS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    qwen2 = write_qwen2(tmp_path_factory.mktemp("models") / "qwen2.gguf")
    models: list[dict[str, Any]] = [
        {"id": "demo", "engine": "llama_cpp", "slots": STREAMS, "cache_type": "f16", "flash_attention": True},
        {"id": "reference", "engine": "ctransformers"},
        {"id": "drafting", "engine": "llama_cpp", "speculation": "prompt_lookup"},
        {"id": "qwen2", "source": f"file://{qwen2}"},
    ]
    with serve(DEMO, {"IXMODAL_SPEC": json.dumps({"models": models})}) as running:
        yield running


@pytest.fixture
def openai(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def streamed(client: OpenAI, model: str, question: str) -> tuple[str, int]:
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, tokens = "", 0
    for chunk in chunks:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    return text, tokens


def test_a_drafting_model_repeats_as_another_does(openai: OpenAI) -> None:
    question = "Repeat after me: the small boat is on the blue sea and the small dog is in the green house"
    assert streamed(openai, "drafting", question) == streamed(openai, "demo", question)


def test_eight_streams_say_what_each_says_alone_with_ctransformers(openai: OpenAI) -> None:
    questions = [f"What is {number} + {number}?" for number in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        together = list(pool.map(lambda question: streamed(openai, "demo", question), questions))
    alone = [streamed(openai, "reference", question) for question in questions]
    assert all(text and tokens for text, tokens in together)
    assert together == alone


def test_a_prefix_is_kept_between_turns(openai: OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Tell me about a boat and the sea, please."}]
    first = openai.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=20)
    messages += [{"role": "assistant", "content": first.choices[0].message.content}]
    messages += [{"role": "user", "content": "And then?"}]
    second = openai.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=20)
    assert second.usage
    assert second.usage.prompt_tokens_details
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= (first.usage.prompt_tokens if first.usage else 99)


def test_structured_output_and_logprobs(openai: OpenAI) -> None:
    number = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": False}
    answer = openai.chat.completions.create(
        model="qwen2",
        messages=[{"role": "user", "content": "a number"}],
        max_tokens=60,
        temperature=0,  # the weights are random: sampled, the answer may be endless space
        logprobs=True,
        top_logprobs=2,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content or "")["n"], int)
    assert answer.choices[0].logprobs
    assert answer.choices[0].logprobs.content


def test_embeddings_of_both_engines_agree(openai: OpenAI) -> None:
    vectors = [
        openai.embeddings.create(model=model, input="a boat").data[0].embedding for model in ("demo", "reference")
    ]
    assert sum(a * b for a, b in zip(*vectors, strict=True)) > 0.99


def test_texts_come_back_whole_from_a_byte_level_vocabulary(openai: OpenAI, server: Server) -> None:
    import httpx

    text = "the word é😀 <|im_end|> ▁"
    tokens = httpx.post(f"{server.url}/tokenize", json={"model": "qwen2", "prompt": text}).json()["tokens"]
    found = httpx.post(f"{server.url}/detokenize", json={"model": "qwen2", "tokens": tokens}).json()
    assert found["prompt"] == text
