"""The engine's loop: frames in, one forward for the next running sequences in turn, frames out."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from ixmodal.backends.base import Backend, Chunk
from ixmodal.engine.budget import share
from ixmodal.engine.channel import Channel
from ixmodal.engine.embedding import Embedding
from ixmodal.engine.messages import (
    SAVE_SECONDS,
    Cancel,
    Decode,
    Decoded,
    Delta,
    Embed,
    Embedded,
    Encode,
    Encoded,
    Failed,
    Finished,
    Generate,
    Load,
    Progress,
    PromptRead,
    Refused,
    Started,
    ToWorker,
)
from ixmodal.engine.prefix_cache import PrefixCache, Taken
from ixmodal.engine.prompts import PromptEncoder
from ixmodal.engine.request import ChatPrompt, FinishReason, ModelInfo, Pooling, SamplingParams
from ixmodal.engine.saved_states import SavedStates
from ixmodal.engine.sequence import Sequence, Step
from ixmodal.engine.speculation import PromptLookup
from ixmodal.engine.state_files import open_files
from ixmodal.engine.waiting import Placement, Waiting
from ixmodal.errors import EngineError, RequestError
from ixmodal.models.reasoning import ThoughtCounter, grammar_before, thinks

if TYPE_CHECKING:
    from ixmodal.engine.constraints import ConstraintCompiler, TokenMask

_SIGN_INTERVAL = 0.05
"""Seconds between signs of life, which many short steps without text need not repeat."""
_DISK_INTERVAL = 0.001
"""Seconds between two looks at the disk's answer, while nothing else is to be done."""
_LONGEST_SILENCE = 0.003
"""Seconds for which what was said in a round of short steps may wait for the rest of the round."""
_SCORE_BYTES = 64 * 1024 * 1024
"""The most that logits of all tokens may take, of all slots together: they stay reserved in the library's memory."""


class Scheduler:
    """Steps sequences over a backend's slots, in turn."""

    def __init__(self, channel: Channel, backend: Backend, load: Load) -> None:
        self._channel = channel
        self._backend = backend
        self._budget = max(load.batch_size, backend.max_chunks)
        self._scored = max(1, _SCORE_BYTES // (4 * len(backend.vocabulary) * backend.slots))
        if load.draft_tokens and not backend.can_score:
            raise EngineError("this library shows no logits of drafted tokens for this model; leave `speculation` off")
        self._draft_tokens = min(load.draft_tokens, self._budget - 1)
        self._encoder = PromptEncoder(backend, load.chat_template, load.template_timeout)
        self._cache = PrefixCache(backend, SavedStates(load.memory_cache_bytes), open_files(load))
        self._waiting = Waiting(self._cache)
        self._thinks = thinks(self._encoder.template_source)
        self._constraints: ConstraintCompiler | None = None
        self._running: deque[Sequence | Embedding] = deque()
        self._last_sign = self._told = -math.inf
        self._steps = 0
        """Forwards since something was sent."""
        self._has_ended = False

    @property
    def model(self) -> ModelInfo:
        """What the server is told of the loaded model."""
        return ModelInfo(
            context_length=self._backend.context_length,
            vocabulary_size=len(self._backend.vocabulary),
            slots=self._backend.slots,
            chat_template=self._encoder.template_source,
            control_ids=self._backend.vocabulary.control_ids,
            bos_token=self._backend.vocabulary.text_of(self._backend.vocabulary.bos_id) or None,
            eos_token=self._backend.vocabulary.text_of(self._backend.vocabulary.eos_id) or None,
            can_infill=self._backend.vocabulary.infill_ids is not None,
        )

    def run(self) -> None:
        """Serve until the server hangs up; then save what is to outlive the process."""
        try:
            self._serve()
        finally:
            self._cache.close(time.monotonic() + SAVE_SECONDS)

    def _serve(self) -> None:
        while (messages := self._channel.receive(wait=not self._running and not self._waiting)) is not None:
            for message in messages:
                self._handle(message)
            self._waiting.resume()
            if messages:
                self._tell()  # what was accepted or refused is known before a long forward
            if self._running:
                self._step()
                self._steps += 1
                self._sign()
                self._tell_soon()
            elif self._waiting:
                time.sleep(_DISK_INTERVAL)

    def _tell_soon(self) -> None:
        """Send what steps have to say: with the last of a round, at an answer's end, and else before it gets old.

        Where a step is one sequence's token, and short, a system call for each would cost as much as the token.
        """
        round_done = self._steps * self._backend.max_chunks >= len(self._running)
        if round_done or self._has_ended or time.monotonic() - self._told > _LONGEST_SILENCE:
            self._tell()

    def _tell(self) -> None:
        self._channel.flush()
        self._told, self._steps, self._has_ended = time.monotonic(), 0, False

    def _sign(self) -> None:
        """Tell that the engine lives: by what it has to say, or now and then by a message that says no more."""
        now = time.monotonic()
        if self._channel.has_news:
            self._last_sign = now
        elif now - self._last_sign > _SIGN_INTERVAL:
            self._last_sign = now
            self._channel.put(Progress())

    def _handle(self, message: ToWorker) -> None:
        if isinstance(message, Cancel):
            self._cancel(message.id)
        elif not isinstance(message, Load):
            try:
                self._begin(message)
            except RequestError as error:
                self._channel.put(Refused(message.id, error.message, error.code, error.param))
            except EngineError as error:
                self._channel.put(Failed(message.id, error.message))

    def _begin(self, message: Generate | Embed | Encode | Decode) -> None:
        if isinstance(message, Generate):
            self._generate(message)
        elif isinstance(message, Embed):
            self._embed(message)
        elif isinstance(message, Encode):
            self._channel.put(Encoded(message.id, *self._encoder.spell(message.prompt)))
        else:
            self._channel.put(Decoded(message.id, self._encoder.decode(message.tokens)))

    def _generate(self, message: Generate) -> None:
        sampling = message.request.sampling
        prompt, dropped, inside = self._encoder.fit(message.request.prompt, sampling.max_tokens)
        self._check_ids(sampling)
        may_think = self._thinks and isinstance(message.request.prompt, ChatPrompt)
        mask = self._compile(sampling, before=self._grammar_before(starts_inside=inside) if may_think else None)
        thought = ThoughtCounter(starts_inside=inside) if may_think else None
        vocabulary, context_length = self._backend.vocabulary, self._backend.context_length
        scored = self._scored if self._backend.can_score else 1

        def begin(taken: Taken) -> None:
            lookup = PromptLookup(prompt, self._draft_tokens) if self._draft_tokens and mask is None else None
            sequence = Sequence(
                message.id, taken.slot, prompt, sampling, vocabulary, context_length, mask, thought, scored, lookup
            )
            self._channel.put(Started(message.id, len(prompt), taken.cached, dropped, may_think and inside))
            if sequence.wants_tokens or sequence.reads_prompt:
                self._running.append(sequence)
            else:
                self._finish(sequence, Step("", FinishReason.LENGTH))

        self._waiting.place(Placement(message.id, prompt, not sampling.prompt_logprobs, begin))

    def _embed(self, message: Embed) -> None:
        prompt = self._encoder.encode(message.prompt, completion_tokens=0)
        scored = self._scored if self._backend.can_pool else 1

        def begin(taken: Taken) -> None:
            self._running.append(Embedding(message.id, taken.slot, prompt, message.pooling, scored))

        self._waiting.place(Placement(message.id, prompt, message.pooling is Pooling.LAST, begin))

    def _check_ids(self, sampling: SamplingParams) -> None:
        size = len(self._backend.vocabulary)
        for param, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
            if any(not 0 <= token < size for token in ids):
                raise RequestError(f"{param} names a token outside the vocabulary of {size} tokens", param=param)

    def _grammar_before(self, *, starts_inside: bool) -> str:
        return grammar_before(starts_inside=starts_inside, control_ids=self._backend.vocabulary.control_ids)

    def _compile(self, sampling: SamplingParams, before: str | None) -> TokenMask | None:
        constraint = sampling.constraint
        if constraint is None:
            return None
        if sampling.min_tokens or sampling.ignore_eos:
            name = "min_tokens" if sampling.min_tokens else "ignore_eos"
            raise RequestError(f"'{name}' can't be combined with '{constraint.param}'", param=name)
        if self._constraints is None:
            # Imported on first use: most requests have no constraint, and the start should not wait for it.
            from ixmodal.engine.constraints import ConstraintCompiler

            self._constraints = ConstraintCompiler(self._backend.vocabulary, self._backend.tokenize)
        return self._constraints.compile(constraint, before)

    def _cancel(self, id: int) -> None:
        if self._waiting.cancel(id):
            return
        for sequence in self._running:
            if sequence.id == id:
                self._running.remove(sequence)
                self._cache.release(sequence.slot)
                return

    def _step(self) -> None:
        """Give the next sequences in turn one forward, of `batch_size` tokens together."""
        count = min(len(self._running), self._backend.max_chunks)
        turn = [self._running.popleft() for _ in range(count)]
        if len(turn) == 1 and not self._running and isinstance(turn[0], Sequence):
            turn[0].speculate()  # beside others, drafts would take the forward's time from them
        sizes = share([sequence.pending_tokens for sequence in turn], self._budget)
        chunks = [sequence.next_chunk(size) for sequence, size in zip(turn, sizes, strict=True)]
        try:
            self._backend.forward(chunks)
        except EngineError as error:
            for sequence in turn:
                self._fail(sequence, error)
            return
        for sequence, chunk in zip(turn, chunks, strict=True):
            self._follow(sequence, chunk, sequence.advance(chunk))

    def _follow(self, sequence: Sequence | Embedding, chunk: Chunk, complete: bool) -> None:
        """After a forward: go on reading the prompt, or sample a token."""
        try:
            if isinstance(sequence, Embedding):
                self._pool(sequence, chunk, complete)
                return
            if sequence.reads_prompt:
                scores = self._backend.scores(chunk.slot) if chunk.scores else self._backend.logits(chunk.slot)[None]
                sequence.read_prompt(chunk, scores)
                if complete:
                    self._channel.put(PromptRead(sequence.id, sequence.prompt_logprobs))
            if complete and not sequence.wants_tokens:
                self._finish(sequence, Step("", FinishReason.LENGTH))
            elif complete:
                self._sample(sequence, chunk)
            else:
                self._running.append(sequence)
        except EngineError as error:
            self._fail(sequence, error)

    def _sample(self, sequence: Sequence, chunk: Chunk) -> None:
        if sequence.has_draft:
            step = sequence.sample_drafted(self._backend.scores(chunk.slot))
        else:
            step = sequence.sample(self._backend.logits(chunk.slot))
        if step.reason is not None:
            self._finish(sequence, step)
            return
        self._running.append(sequence)
        counts = (sequence.completion_tokens, sequence.reasoning_tokens)
        self._channel.put(Delta(sequence.id, step.text, counts[0], step.logprobs, counts[1]))

    def _pool(self, embedding: Embedding, chunk: Chunk, complete: bool) -> None:
        read = self._backend.embeddings if chunk.scores else self._backend.embedding
        embedding.add(read(chunk.slot))
        if complete:
            self._has_ended = True
            self._cache.release(embedding.slot)
            self._channel.put(Embedded(embedding.id, embedding.vector, embedding.prompt_tokens))
        else:
            self._running.append(embedding)

    def _finish(self, sequence: Sequence, step: Step) -> None:
        assert step.reason
        self._has_ended = True
        self._cache.release(sequence.slot)
        counts = (sequence.completion_tokens, sequence.reasoning_tokens)
        self._channel.put(Finished(sequence.id, step.text, counts[0], step.reason, step.logprobs, counts[1]))

    def _fail(self, sequence: Sequence | Embedding, error: EngineError) -> None:
        self._has_ended = True
        del sequence.slot.tokens[:]
        self._cache.release(sequence.slot)
        self._channel.put(Failed(sequence.id, error.message))
