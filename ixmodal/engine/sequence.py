"""One generation in progress: how far its prompt is read, what was sampled, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ixmodal.backends.base import Chunk, Logits
from ixmodal.engine.detokenizer import Detokenizer
from ixmodal.engine.logprobs import LogprobQueue, describe, log_softmax
from ixmodal.engine.request import FinishReason, SamplingParams, TokenLogprob
from ixmodal.engine.sampler import Sampler
from ixmodal.engine.slots import Slot
from ixmodal.engine.speculation import PromptLookup
from ixmodal.models.reasoning import ThoughtCounter
from ixmodal.models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ixmodal.engine.constraints import TokenMask


class Step(msgspec.Struct, frozen=True, gc=False):
    """What sampling a token yields: the text that became certain, and why the answer ended if it did."""

    text: str
    reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Sequence:
    """Tokens still to be evaluated are `pending`; those before are in the slot's cache."""

    def __init__(
        self,
        id: int,
        slot: Slot,
        prompt: list[int],
        params: SamplingParams,
        vocabulary: Vocabulary,
        context_length: int,
        mask: TokenMask | None = None,
        thought: ThoughtCounter | None = None,
        scored: int = 1,
        lookup: PromptLookup | None = None,
    ) -> None:
        """`scored` tokens at most are read in one forward where the logits after each are wanted."""
        self.id = id
        self.slot = slot
        self.completion_tokens = 0
        self._pending = prompt[len(slot.tokens) :]
        room = context_length - len(prompt)
        self._limit = room if params.max_tokens is None else min(params.max_tokens, room)
        self._params = params
        self._vocabulary = vocabulary
        self._stop_ids = vocabulary.end_ids | set(params.stop_token_ids)
        self._sampler = Sampler(params, prompt, vocabulary.end_ids)
        self._mask = mask
        self._scored = scored
        self._lookup = lookup
        self._draft: list[int] = []
        self._thought = thought
        control = vocabulary.control_ids
        self._shown = {control[text]: text.encode() for text in params.shown_control if text in control}
        self._detokenizer = Detokenizer(params.stop)
        self._told = LogprobQueue()
        self._prompt_logprobs = [TokenLogprob(prompt[0], vocabulary.piece(prompt[0]), None)]

    @property
    def wants_tokens(self) -> bool:
        """False for a request of zero tokens."""
        return self._limit > 0

    @property
    def reasoning_tokens(self) -> int:
        """Of `completion_tokens`, those up to the end of a thought."""
        return self._thought.tokens if self._thought else 0

    @property
    def reads_prompt(self) -> bool:
        """True while the prompt's log-probabilities are being gathered."""
        return self._params.prompt_logprobs and not self.completion_tokens

    @property
    def prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Those of the prompt's tokens so far."""
        return tuple(self._prompt_logprobs)

    @property
    def pending_tokens(self) -> int:
        """Tokens that the next chunk could hold."""
        return min(len(self._pending), self._scored) if self.reads_prompt else len(self._pending)

    @property
    def has_draft(self) -> bool:
        """Whether the chunk in progress ends with drafted tokens."""
        return bool(self._draft)

    def speculate(self) -> None:
        """Draft what may follow the token that is pending, to be checked in the same forward."""
        room = self._limit - self.completion_tokens - 1
        if self._lookup is not None and self.completion_tokens and room > 0:
            self._draft = self._lookup.draft(room)
            self._pending += self._draft

    def next_chunk(self, size: int) -> Chunk:
        """The next tokens to evaluate: one while decoding, drafted ones behind it, up to `size` of the prompt."""
        size = min(size, self.pending_tokens)
        scores = (self.reads_prompt and size > 1) or bool(self._draft)
        return Chunk(self.slot.index, self._pending[:size], len(self.slot.tokens), scores=scores)

    def advance(self, chunk: Chunk) -> bool:
        """Note that `chunk` is in the cache. True if nothing is pending: the next token can be sampled."""
        self.slot.tokens.extend(chunk.tokens)
        del self._pending[: len(chunk.tokens)]
        return not self._pending

    def read_prompt(self, chunk: Chunk, scores: Logits) -> None:
        """Note the log-probabilities of what follows each of the chunk's tokens in the prompt.

        Called after `advance`. `scores` are the logits after each token, shape (tokens, vocabulary).
        """
        alternatives = self._params.logprobs or 0
        for logits, token in zip(scores, [*chunk.tokens[1:], *self._pending[:1]], strict=False):
            self._prompt_logprobs.append(describe(log_softmax(logits), token, alternatives, self._vocabulary))

    def sample_drafted(self, scores: Logits) -> Step:
        """As `sample`, of a forward with a draft: its tokens count as long as they are those that are sampled.

        `scores`, shape (tokens, vocabulary), are the logits after the token that was pending and each drafted one.
        """
        draft, self._draft = self._draft, []
        texts, told, right = list[str](), list[TokenLogprob](), 0
        while True:
            step = self.sample(scores[right])
            texts.append(step.text)
            told += step.logprobs
            if step.reason or right == len(draft) or self._pending[0] != draft[right]:
                break
            right += 1
        del self.slot.tokens[len(self.slot.tokens) - (len(draft) - right) :]
        assert self._lookup
        self._lookup.judge(len(draft), right)
        return Step("".join(texts), step.reason, tuple(told))

    def sample(self, logits: Logits) -> Step:
        """Choose a token. Raises `EngineError` if the model yields no finite logits or the constraint allows none."""
        wanted = self._params.logprobs
        logprobs = None if wanted is None else log_softmax(logits)
        token = self._sampler.sample(logits, self._mask)
        self.completion_tokens += 1
        if self._lookup is not None:
            self._lookup.extend((token,))
        if logprobs is not None:
            self._told.push(describe(logprobs, token, wanted or 0, self._vocabulary))
        if token in self._stop_ids:
            return self._end(FinishReason.STOP)
        piece = self._shown.get(token) or self._vocabulary.piece(token)
        if self._thought is not None:
            self._thought.push(piece)
        text = self._detokenizer.push(piece)
        complete = self._mask is not None and self._mask.advance(token)
        if self._detokenizer.stopped:
            return Step(text, FinishReason.STOP, self._told.release(text))
        if complete:
            return self._end(FinishReason.STOP, text)
        if self.completion_tokens >= self._limit:
            return self._end(FinishReason.LENGTH, text)
        self._pending = [token]
        return Step(text, None, () if wanted is None else self._told.release(text))

    def _end(self, reason: FinishReason, text: str = "") -> Step:
        text += self._detokenizer.flush()
        if self._detokenizer.stopped:
            return Step(text, FinishReason.STOP, self._told.release(text))
        return Step(text, reason, self._told.flush())
