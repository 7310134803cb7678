"""From a request's prompt to token ids, with every check that must come before native code."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from ixmodal.backends.base import Backend
from ixmodal.engine.bounds import memory_limit, time_limit
from ixmodal.engine.request import ChatPrompt, InfillPrompt, Prompt, TextPrompt
from ixmodal.engine.truncation import Message, drop_oldest, from_turn, turn_starts
from ixmodal.errors import ContextLengthError, InvalidRequestError
from ixmodal.models.chat_template import ChatTemplate, Piece
from ixmodal.models.reasoning import ends_inside

_TAIL = 32
"""Tokens from which a prompt's end is read: more than an opening tag has, letter by letter, with line breaks."""


class Fitted(NamedTuple):
    """A prompt's tokens, how many messages were left out of it, and whether it ends with an open thought."""

    tokens: list[int]
    dropped_messages: int
    ends_inside: bool


class PromptEncoder:
    """Knows one model's template, tokenizer and context length."""

    def __init__(self, backend: Backend, template: str | None, template_timeout: float) -> None:
        """Compile the template. Raises `ValueError` if it is not valid Jinja."""
        self._backend = backend
        self._vocabulary = backend.vocabulary
        self._template_timeout = template_timeout
        self.template_source = template or backend.chat_template
        self.template = self._compile(self.template_source) if self.template_source else None
        defined = sorted(self._vocabulary.user_defined_ids, key=len, reverse=True)
        self._defined = re.compile("(" + "|".join(map(re.escape, defined)) + ")") if defined else None

    def _compile(self, source: str) -> ChatTemplate:
        # Within bounds as well: constant parts of a template are computed when it is compiled.
        try:
            with time_limit(self._template_timeout), memory_limit():
                return ChatTemplate(source, self._vocabulary)
        except InvalidRequestError as error:
            raise ValueError(f"the chat template can't be compiled: {error}") from None

    def encode(self, prompt: Prompt, completion_tokens: int | None) -> list[int]:
        """Token ids of a prompt that fits the context.

        Args:
            prompt: what to encode.
            completion_tokens: tokens the caller asks for; 0 leaves the whole context to the prompt.

        Raises:
            InvalidRequestError: no template, a template's refusal, an id outside the vocabulary, an empty prompt.
            ContextLengthError: no room is left for an answer.
        """
        room = self._backend.context_length - (0 if completion_tokens == 0 else 1)
        tokens = self._tokens(prompt, room)
        if not tokens:
            raise InvalidRequestError("the prompt is empty; send at least one token", param="prompt")
        if len(tokens) > room:
            raise self._too_long(f"{len(tokens)}", prompt)
        return tokens

    def fit(self, prompt: Prompt, completion_tokens: int | None) -> Fitted:
        """Like `encode`; a conversation that may be cut is cut first.

        Raises:
            RequestError: as `encode`, of the last turn alone if nothing more can be dropped.
        """
        if not isinstance(prompt, ChatPrompt) or not (prompt.truncate or prompt.max_messages):
            return self._fitted(self.encode(prompt, completion_tokens), 0)
        total = len(prompt.messages)
        kept = drop_oldest(prompt.messages, prompt.max_messages)
        if prompt.truncate:
            # An answer needs room as well: what it asks for, up to half of the context.
            room = self._backend.context_length - min(completion_tokens or 1, self._backend.context_length // 2)
            starts = turn_starts(kept)
            first = bisect.bisect_left(starts, True, key=lambda at: self._fits(prompt, kept, at, room))
            kept = from_turn(kept, starts[min(first, len(starts) - 1)])
        return self._fitted(self.encode(replace(prompt, messages=kept), completion_tokens), total - len(kept))

    def _fitted(self, tokens: list[int], dropped: int) -> Fitted:
        texts = (self._vocabulary.piece(token) or self._vocabulary.texts[token] for token in tokens[-_TAIL:])
        return Fitted(tokens, dropped, ends_inside(b"".join(texts).decode("utf-8", "replace")))

    def _fits(self, prompt: ChatPrompt, messages: list[Message], at: int, room: int) -> bool:
        try:
            return len(self._tokens(replace(prompt, messages=from_turn(messages, at)), room)) <= room
        except ContextLengthError:
            return False

    def spell(self, prompt: Prompt) -> tuple[list[int], list[bytes], str]:
        """A prompt's tokens, the bytes of each, and the prompt as text with its control tokens spelled out.

        Raises:
            RequestError: as `encode`, but prompts may fill the whole context.
        """
        tokens = self._tokens(prompt, self._backend.context_length)
        pieces = [self._vocabulary.piece(token) for token in tokens]
        if isinstance(prompt, ChatPrompt):
            spelled = (self._vocabulary.text_of(p) if isinstance(p, int) else p for p in self._render(prompt))
            return tokens, pieces, "".join(spelled)
        text = prompt.text if isinstance(prompt, TextPrompt) else b"".join(pieces).decode("utf-8", "replace")
        return tokens, pieces, text

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, bytes that are no UTF-8 as U+FFFD. Raises `InvalidRequestError` for unknown ids."""
        self._check_ids(tokens, "tokens")
        return b"".join(self._vocabulary.piece(token) for token in tokens).decode("utf-8", "replace")

    def _check_ids(self, tokens: Sequence[int], param: str) -> None:
        size = len(self._vocabulary)
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequestError(f"token {wrong} is not in the vocabulary of {size} tokens", param=param)

    def _tokens(self, prompt: Prompt, room: int) -> list[int]:
        if isinstance(prompt, ChatPrompt):
            return self._encode_pieces(self._render(prompt), prompt, room)
        if isinstance(prompt, TextPrompt):
            return self._encode_pieces([prompt.text], prompt, room, add_bos=prompt.add_bos)
        if isinstance(prompt, InfillPrompt):
            return self._encode_pieces(self._infill(prompt), prompt, room)
        self._check_ids(prompt.tokens, "prompt")
        return list(prompt.tokens)

    def _infill(self, prompt: InfillPrompt) -> list[Piece]:
        ids = self._vocabulary.infill_ids
        if ids is None:
            raise InvalidRequestError("this model has no fill-in-the-middle tokens; leave 'suffix' out", param="suffix")
        before, after, middle = ids
        return [before, prompt.prefix, after, prompt.suffix, middle]

    def _render(self, prompt: ChatPrompt) -> list[Piece]:
        if self.template is None:
            raise InvalidRequestError(
                "this model has no chat template; set `chat_template` in the spec, or use /v1/completions",
                param="messages",
            )
        with time_limit(self._template_timeout), memory_limit():
            return self.template.render(prompt.messages, prompt.tools)

    def _encode_pieces(self, pieces: Sequence[Piece], prompt: Prompt, room: int, *, add_bos: bool = True) -> list[int]:
        # A text of n bytes has at least n / longest tokens: what can't fit never reaches the native tokenizer.
        size = sum(len(piece.encode()) for piece in pieces if isinstance(piece, str))
        if (least := size // self._vocabulary.longest_text) > room:
            raise self._too_long(f"at least {least}", prompt)
        tokens: list[int] = []
        for piece in pieces:
            tokens += [piece] if isinstance(piece, int) else self._encode_text(piece)
        bos = self._vocabulary.bos_id
        if add_bos and self._vocabulary.add_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def _encode_text(self, text: str) -> list[int]:
        if self._defined is None:
            return self._backend.tokenize(text)
        tokens: list[int] = []
        for part in filter(None, self._defined.split(text)):
            defined = self._vocabulary.user_defined_ids.get(part)
            tokens += [defined] if defined is not None else self._backend.tokenize(part)
        return tokens

    def _too_long(self, length: str, prompt: Prompt) -> ContextLengthError:
        return ContextLengthError(
            f"This model's maximum context length is {self._backend.context_length} tokens. However, your prompt has "
            f"{length} tokens, which leaves no room for an answer. Please shorten the prompt.",
            param="messages" if isinstance(prompt, ChatPrompt) else "prompt",
        )
