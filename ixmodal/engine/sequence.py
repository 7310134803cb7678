"""One generation in progress: how far its prompt is read, what was sampled, and when it ends."""

from __future__ import annotations

from ixmodal.backends.base import Chunk
from ixmodal.engine.detokenizer import Detokenizer
from ixmodal.engine.request import FinishReason, SamplingParams
from ixmodal.engine.sampler import Floats, Sampler
from ixmodal.engine.slots import Slot
from ixmodal.models.vocabulary import Vocabulary


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
    ) -> None:
        self.id = id
        self.slot = slot
        self.completion_tokens = 0
        self._pending = prompt[len(slot.tokens) :]
        room = context_length - len(prompt)
        self._limit = room if params.max_tokens is None else min(params.max_tokens, room)
        self._vocabulary = vocabulary
        self._stop_ids = vocabulary.end_ids | set(params.stop_token_ids)
        self._sampler = Sampler(params, prompt, vocabulary.end_ids)
        self._detokenizer = Detokenizer(params.stop)

    @property
    def wants_tokens(self) -> bool:
        """False for a request of zero tokens: its prompt needs no evaluation."""
        return self._limit > 0

    def next_chunk(self, batch_size: int) -> Chunk:
        """The next tokens to evaluate: one while decoding, up to `batch_size` of the prompt."""
        return Chunk(self.slot.index, self._pending[:batch_size], len(self.slot.tokens))

    def advance(self, chunk: Chunk) -> bool:
        """Note that `chunk` is in the cache. True if nothing is pending: the next token can be sampled."""
        self.slot.tokens += chunk.tokens
        del self._pending[: len(chunk.tokens)]
        return not self._pending

    def sample(self, logits: Floats) -> tuple[str, FinishReason | None]:
        """Choose a token. Returns the text that became certain, and why the answer ended if it did."""
        token = self._sampler.sample(logits)
        self.completion_tokens += 1
        if token in self._stop_ids:
            return self._detokenizer.flush(), FinishReason.STOP
        text = self._detokenizer.push(self._vocabulary.piece(token))
        if self._detokenizer.stopped:
            return text, FinishReason.STOP
        if self.completion_tokens >= self._limit:
            text += self._detokenizer.flush()
            return text, FinishReason.STOP if self._detokenizer.stopped else FinishReason.LENGTH
        self._pending = [token]
        return text, None
