from __future__ import annotations

import resource
import signal
import time
from typing import Any

import pytest

from ixmodal.engine.bounds import memory_limit, time_limit
from ixmodal.engine.prompts import PromptEncoder
from ixmodal.engine.request import ChatPrompt, Prompt, TextPrompt, TokenPrompt
from ixmodal.errors import ContextLengthError, InvalidRequestError
from ixmodal.models.vocabulary import TokenType, Vocabulary

BOS, EOS, START, END, THINK = 256, 257, 258, 259, 260
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
TEXTS = [bytes([value]) for value in range(256)] + [b"<s>", b"</s>", b"<|im_start|>", b"<|im_end|>", b"<think>"]
TYPES = [TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 4 + [TokenType.USER_DEFINED]


class Bytes:
    """A backend of one token a byte that remembers what it was asked to tokenize."""

    max_chunks = slots = 1

    def __init__(self, context_length: int = 64, *, add_bos: bool = True, template: str | None = CHATML) -> None:
        self.vocabulary = Vocabulary(TEXTS, TYPES, bos_id=BOS, eos_id=EOS, add_bos=add_bos)
        self.chat_template = template
        self.context_length = context_length
        self.asked: list[str] = []

    def tokenize(self, text: str) -> list[int]:
        self.asked.append(text)
        return list(text.encode())


def encoder(backend: Any, template: str | None = None, timeout: float = 5.0) -> PromptEncoder:
    return PromptEncoder(backend, template, timeout)


def chat(*contents: str) -> ChatPrompt:
    return ChatPrompt([{"role": "user", "content": content} for content in contents])


def test_a_chat_in_tokens() -> None:
    tokens = encoder(Bytes()).encode(chat("hé"), None)
    assert tokens == [BOS, START, *"user\nhé".encode(), END, START, *b"assistant\n"]


def test_a_spelled_control_token_reaches_the_tokenizer_as_text() -> None:
    backend = Bytes()
    tokens = encoder(backend).encode(chat("</s><|im_end|><s>"), None)
    assert [token for token in tokens if token > 255] == [BOS, START, END, START]
    assert backend.asked[0] == "user\n</s><|im_end|><s>"
    assert encoder(Bytes()).encode(TextPrompt("</s>"), None) == [BOS, *b"</s>"]


def test_bos_goes_in_front_where_the_file_asks_for_it_and_once() -> None:
    assert encoder(Bytes()).encode(TextPrompt("a"), None) == [BOS, 97]
    assert encoder(Bytes(add_bos=False)).encode(TextPrompt("a"), None) == [97]
    assert encoder(Bytes()).encode(TextPrompt("a", add_bos=False), None) == [97]
    assert encoder(Bytes(template="{{ bos_token }}x")).encode(chat("a"), None) == [BOS, 120]
    assert encoder(Bytes(add_bos=False, template="{{ bos_token }}x")).encode(chat("a"), None) == [BOS, 120]
    assert encoder(Bytes(add_bos=False)).encode(chat("a"), None)[0] == START
    assert encoder(Bytes()).encode(TextPrompt(""), None) == [BOS]


def test_token_ids_are_taken_as_they_are() -> None:
    backend = Bytes()
    assert encoder(backend).encode(TokenPrompt([1, EOS, 0]), None) == [1, EOS, 0]
    assert backend.asked == []


def test_user_defined_tokens_are_found_in_any_text() -> None:
    backend = Bytes(add_bos=False)
    assert encoder(backend).encode(TextPrompt("a<think>b<think>"), None) == [97, THINK, 98, THINK]
    assert backend.asked == ["a", "b"]
    assert encoder(Bytes(add_bos=False)).encode(TextPrompt("<think"), None) == list(b"<think")


@pytest.mark.parametrize("token", [-1, len(TEXTS), 2**40])
def test_ids_outside_the_vocabulary_are_refused(token: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"token {token} is not in the vocabulary of {len(TEXTS)}") as caught:
        encoder(Bytes()).encode(TokenPrompt([1, token]), None)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("prompt", [TokenPrompt([]), TextPrompt("")])
def test_an_empty_prompt_is_refused(prompt: Prompt) -> None:
    with pytest.raises(InvalidRequestError, match="the prompt is empty"):
        encoder(Bytes(add_bos=False)).encode(prompt, None)


def test_a_prompt_must_leave_room_for_one_token_unless_none_is_asked_for() -> None:
    fits, full, over = (TokenPrompt([1] * length) for length in (63, 64, 65))
    knows = encoder(Bytes(context_length=64))
    assert len(knows.encode(fits, None)) == len(knows.encode(fits, 500)) == 63
    assert len(knows.encode(full, 0)) == 64
    for prompt, wanted in ((full, None), (full, 1), (over, 0)):
        with pytest.raises(ContextLengthError) as caught:
            knows.encode(prompt, wanted)
        assert caught.value.code == "context_length_exceeded"
        assert "context length is 64 tokens" in caught.value.message
        assert f"your prompt has {len(prompt.tokens)} tokens" in caught.value.message


def test_what_can_not_fit_never_reaches_the_tokenizer() -> None:
    backend = Bytes(context_length=64)
    longest = backend.vocabulary.longest_text
    for prompt, param in ((TextPrompt("x" * 64 * longest), "prompt"), (chat("é" * 64 * longest), "messages")):
        with pytest.raises(ContextLengthError, match=r"at least [0-9]+ tokens") as caught:
            encoder(backend).encode(prompt, None)
        assert caught.value.param == param
    assert backend.asked == []


def test_what_may_fit_is_counted_exactly() -> None:
    backend = Bytes(context_length=64)
    with pytest.raises(ContextLengthError, match="your prompt has 101 tokens"):
        encoder(backend).encode(TextPrompt("x" * 100), None)
    assert backend.asked == ["x" * 100]


def test_a_declared_template_goes_before_the_files_own() -> None:
    assert encoder(Bytes(), "{{ 'Q' }}").encode(chat("a"), None) == [BOS, ord("Q")]


def test_without_a_template_there_is_no_chat() -> None:
    knows = encoder(Bytes(template=None))
    assert knows.template is None
    with pytest.raises(InvalidRequestError, match="has no chat template") as caught:
        knows.encode(chat("a"), None)
    assert caught.value.param == "messages"


def test_a_template_that_does_not_compile_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="can't be compiled"):
        encoder(Bytes(), "{% if %}")


@pytest.mark.parametrize(
    "endless",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(99999) %}{% set n.x = n.x[:99999] + n.x %}{% endfor %}",
    ],
)
def test_a_template_has_a_time_limit(endless: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequestError, match=r"took over 0\.05 seconds"):
        encoder(Bytes(), endless, timeout=0.05).encode(chat("a"), None)
    assert time.monotonic() - began < 5


def test_the_alarm_is_put_back_as_it_was() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(30):
        assert signal.getsignal(signal.SIGALRM) != before
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    "greedy",
    [
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ 'x'.zfill(messages[0].content | int) }}",
        "{{ messages[0].content | indent(10000000000) }}",
        "{{ 'xxxx'.replace('x', 'y' * 1000000).replace('y', 'z' * 1000000) }}",
        "{{ (1).to_bytes(10000000000, 'big') }}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    ],
)
def test_a_template_has_a_memory_limit(greedy: str) -> None:
    with pytest.raises(InvalidRequestError, match="more memory than it may have"):
        encoder(Bytes(), greedy, timeout=20).encode(chat("10000000000"), None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 1024 * 1024  # KiB
    assert encoder(Bytes(), CHATML).encode(chat("a"), None)


def test_what_a_template_computes_when_compiled_is_bounded_too() -> None:
    constant = "{% if false %}{{ 'x' | center(10000000000) }}{% endif %}ok"
    assert encoder(Bytes(), constant).encode(chat("a"), None)


def test_the_memory_limit_is_put_back_as_it_was() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with memory_limit(64 * 1024 * 1024):
        assert resource.getrlimit(resource.RLIMIT_AS) != before
        with pytest.raises(MemoryError):
            bytearray(256 * 1024 * 1024)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert bytearray(256 * 1024 * 1024)
