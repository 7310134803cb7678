"""What the engine is asked for and what it answers, free of any wire format but its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    """The model ended its answer, or a stop string was met."""
    LENGTH = "length"
    """The token limit or the end of the context was reached."""


class Constraint(msgspec.Struct, frozen=True):
    """What an answer must look like.

    `kind` is json_object, json_schema (value: the schema as JSON), regex, or grammar (Lark as llguidance knows it, or
    GBNF). `param` names the request's field in refusals.
    """

    kind: str
    value: str = ""
    param: str = "response_format"


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens are chosen. Neutral defaults: a field at its default has no effect."""

    max_tokens: int | None = None
    """Tokens generated at most; unset: what the context has left."""
    min_tokens: int = 0
    """Tokens generated before the model may end its answer."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together reach this probability."""
    min_p: float = 0.0
    """Keep tokens at least this likely relative to the likeliest."""
    repetition_penalty: float = 1.0
    """Divide the positive logits of tokens in prompt and answer by this, multiply the negative."""
    frequency_penalty: float = 0.0
    """Subtract this from a token's logit for each time it was generated."""
    presence_penalty: float = 0.0
    """Subtract this once from the logit of each token generated."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of these tokens."""
    seed: int | None = None
    """Seed of this request's own generator; unset: fresh entropy."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not returned."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer and are not returned."""
    ignore_eos: bool = False
    """Go on after the model's own end."""
    typical_p: float = 1.0
    """Keep the tokens whose surprise is closest to the expected one and that together reach this probability."""
    mirostat_tau: float | None = None
    """Hold the surprise of the chosen tokens near this many bits (mirostat 2); unset: off."""
    mirostat_eta: float = 0.1
    """How fast mirostat learns."""
    constraint: Constraint | None = None
    """What the answer must look like."""
    logprobs: int | None = None
    """Report the log-probability of each token, and of this many likeliest alternatives."""
    shown_control: tuple[str, ...] = ()
    """Control tokens that appear in the text by their spelling, for those who parse it; all others add nothing."""
    prompt_logprobs: bool = False
    """Report those of the prompt's tokens too; read in chunks where the library shows them."""


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token, the bytes it adds to the text, and its natural log-probability before penalties and temperature.

    `logprob` is None for a prompt's first token, which nothing precedes. `top` holds the likeliest tokens, best first.
    """

    id: int
    piece: bytes
    logprob: float | None
    top: tuple[TokenLogprob, ...] = ()

    @property
    def text(self) -> str:
        """The token as text; bytes that are no whole character become U+FFFD."""
        return self.piece.decode("utf-8", "replace")


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat"):
    """A conversation, to be rendered by the model's chat template. Messages as in the OpenAI API, content as text."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    truncate: bool = False
    """Drop the oldest turns, never system messages nor the last turn, until the rest fits the context."""
    max_messages: int | None = None
    """Keep the system messages and at most this many of the last others."""


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Plain text; the model's BOS is put in front where its file asks for one, unless it is to be left out."""

    text: str
    add_bos: bool = True


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, taken as they are: nothing is added."""

    tokens: list[int]


class InfillPrompt(msgspec.Struct, frozen=True, tag="infill"):
    """Text before and after the text to write, for models with fill-in-the-middle tokens."""

    prefix: str
    suffix: str


Prompt = ChatPrompt | TextPrompt | TokenPrompt | InfillPrompt


class GenerationRequest(msgspec.Struct, frozen=True):
    """One choice to generate."""

    prompt: Prompt
    sampling: SamplingParams = SamplingParams()


class Usage(msgspec.Struct, frozen=True):
    """Tokens really evaluated: `cached_tokens` of the prompt were found in a slot's cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    dropped_messages: int = 0
    """Messages left out of the prompt, where the request allowed that."""
    reasoning_tokens: int = 0
    """Of the completion's, those up to the end of the model's thought."""


class Output(msgspec.Struct, frozen=True):
    """A step of an answer: the text since the last one, the usage so far, and at the end why it ended."""

    text: str
    usage: Usage
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    starts_inside: bool = False
    """In the first output: whether the prompt ends inside a thought."""


class Pooling(StrEnum):
    """How a prompt's vectors become one."""

    LAST = "last"
    """The last token's."""
    MEAN = "mean"
    """The mean over all tokens, evaluated one by one where the library shows the hidden state of the last alone."""


class ModelInfo(msgspec.Struct, frozen=True):
    """What the engine knows of a loaded model. Lengths in tokens."""

    context_length: int
    vocabulary_size: int
    slots: int
    chat_template: str | None
    can_infill: bool = False
    control_ids: dict[str, int] = {}
    """Control tokens by their text."""
    bos_token: str | None = None
    """The text of the token that begins a prompt."""
    eos_token: str | None = None
    """The text of the token that ends an answer."""
