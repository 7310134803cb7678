"""The engine's process: `python -m ixmodal.engine.worker FD PARENT_PID`.

One thread makes every native call. Its loop reads frames, then steps the running sequences in turn: a chunk of a
prompt, or one token. It ends when the server's end of the socket closes.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ixmodal.backends import load_backend
from ixmodal.backends.base import Backend, LoadParams
from ixmodal.engine.messages import (
    Cancel,
    Delta,
    Failed,
    Finished,
    FrameBuffer,
    FromWorker,
    Generate,
    Load,
    LoadFailed,
    Progress,
    PromptRead,
    Ready,
    Refused,
    Started,
    frame,
    to_worker,
)
from ixmodal.engine.prompts import PromptEncoder
from ixmodal.engine.request import FinishReason, ModelInfo, SamplingParams
from ixmodal.engine.sequence import Sequence, Step
from ixmodal.engine.slots import Slots
from ixmodal.errors import EngineError, RequestError, UnsupportedModelError, WeightsError

if TYPE_CHECKING:
    from ixmodal.engine.constraints import ConstraintCompiler, TokenMask

_RECEIVE_BYTES = 1 << 18


class Worker:
    """Schedules sequences over a backend's slots."""

    def __init__(self, channel: Channel, backend: Backend, load: Load) -> None:
        self._channel = channel
        self._backend = backend
        self._batch_size = load.batch_size
        self._encoder = PromptEncoder(backend, load.chat_template, load.template_timeout)
        self._slots = Slots(backend.slots)
        self._constraints: ConstraintCompiler | None = None
        self._running: deque[Sequence] = deque()

    @property
    def model(self) -> ModelInfo:
        """What the server is told of the loaded model."""
        return ModelInfo(
            context_length=self._backend.context_length,
            vocabulary_size=len(self._backend.vocabulary),
            slots=self._backend.slots,
            chat_template=self._encoder.template_source,
            can_infill=self._backend.vocabulary.infill_ids is not None,
        )

    def run(self) -> None:
        """Serve until the server hangs up."""
        while (messages := self._channel.receive(wait=not self._running)) is not None:
            for message in messages:
                if isinstance(message, Generate):
                    self._admit(message)
                elif isinstance(message, Cancel):
                    self._cancel(message.id)
            self._step()

    def _admit(self, message: Generate) -> None:
        sampling = message.request.sampling
        try:
            prompt = self._encoder.encode(message.request.prompt, sampling.max_tokens)
            self._check_ids(message)
            mask = self._compile(sampling)
        except RequestError as error:
            self._channel.send(Refused(message.id, error.message, error.code, error.param))
            return
        except EngineError as error:
            self._channel.send(Failed(message.id, error.message))
            return
        taken = self._slots.take(prompt, reuse=not sampling.prompt_logprobs)
        if taken is None:
            self._channel.send(Failed(message.id, "no slot is free; the server sent more than it may"))
            return
        slot, cached = taken
        vocabulary, context_length = self._backend.vocabulary, self._backend.context_length
        sequence = Sequence(message.id, slot, prompt, sampling, vocabulary, context_length, mask)
        self._channel.send(Started(message.id, len(prompt), cached))
        if sequence.wants_tokens or sequence.reads_prompt:
            self._running.append(sequence)
        else:
            self._finish(sequence, Step("", FinishReason.LENGTH))

    def _check_ids(self, message: Generate) -> None:
        size = len(self._backend.vocabulary)
        sampling = message.request.sampling
        for param, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
            if any(not 0 <= token < size for token in ids):
                raise RequestError(f"{param} names a token outside the vocabulary of {size} tokens", param=param)

    def _compile(self, sampling: SamplingParams) -> TokenMask | None:
        constraint = sampling.constraint
        if constraint is None:
            return None
        if sampling.min_tokens or sampling.ignore_eos:
            name = "min_tokens" if sampling.min_tokens else "ignore_eos"
            raise RequestError(f"'{name}' can't be combined with '{constraint.param}'", param=name)
        if self._constraints is None:
            # Imported on first use: most requests have no constraint, and the start should not wait for it.
            from ixmodal.engine.constraints import ConstraintCompiler

            self._constraints = ConstraintCompiler(self._backend.vocabulary)
        return self._constraints.compile(constraint)

    def _cancel(self, id: int) -> None:
        for sequence in self._running:
            if sequence.id == id:
                self._running.remove(sequence)
                self._slots.release(sequence.slot)
                return

    def _step(self) -> None:
        """Give the next sequences in turn one forward."""
        count = min(len(self._running), self._backend.max_chunks)
        turn = [self._running.popleft() for _ in range(count)]
        if not turn:
            return
        chunks = [sequence.next_chunk(self._batch_size) for sequence in turn]
        try:
            self._backend.forward(chunks)
        except EngineError as error:
            for sequence in turn:
                self._fail(sequence, error)
            return
        for sequence, chunk in zip(turn, chunks, strict=True):
            self._follow(sequence, sequence.advance(chunk))

    def _follow(self, sequence: Sequence, complete: bool) -> None:
        """After a forward: go on reading the prompt, or sample a token."""
        try:
            if sequence.reads_prompt:
                sequence.read_prompt(self._backend.logits(sequence.slot.index))
                if complete:
                    self._channel.send(PromptRead(sequence.id, sequence.prompt_logprobs))
            if complete and not sequence.wants_tokens:
                self._finish(sequence, Step("", FinishReason.LENGTH))
            elif complete:
                self._sample(sequence)
            else:
                self._running.append(sequence)
                self._channel.send(Progress())
        except EngineError as error:
            self._fail(sequence, error)

    def _sample(self, sequence: Sequence) -> None:
        step = sequence.sample(self._backend.logits(sequence.slot.index))
        if step.reason is not None:
            self._finish(sequence, step)
            return
        self._running.append(sequence)
        self._channel.send(Delta(sequence.id, step.text, sequence.completion_tokens, step.logprobs))

    def _finish(self, sequence: Sequence, step: Step) -> None:
        assert step.reason
        self._slots.release(sequence.slot)
        self._channel.send(Finished(sequence.id, step.text, sequence.completion_tokens, step.reason, step.logprobs))

    def _fail(self, sequence: Sequence, error: EngineError) -> None:
        sequence.slot.tokens.clear()
        self._slots.release(sequence.slot)
        self._channel.send(Failed(sequence.id, error.message))


class Channel:
    """Typed frames over the socket to the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = FrameBuffer()

    def receive(self, *, wait: bool) -> list[Load | Generate | Cancel] | None:
        """The frames that have arrived; waits for some if `wait`. None once the server hung up."""
        if not wait and not select.select([self._socket], [], [], 0)[0]:
            return []
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except ConnectionError:
            return None
        if not data:
            return None
        return [to_worker.decode(body) for body in self._buffer.feed(data)]

    def send(self, message: FromWorker) -> None:
        """Send a frame; if the server is gone, end."""
        try:
            self._socket.sendall(frame(message))
        except ConnectionError:
            raise SystemExit(0) from None


def _load(channel: Channel, load: Load) -> Worker:
    params = LoadParams(
        path=load.path,
        context_length=load.context_length,
        slots=load.slots,
        batch_size=load.batch_size,
        threads=load.threads,
        gpu_layers=load.gpu_layers,
        mmap=load.mmap,
        mlock=load.mlock,
    )
    backend = load_backend(load.backend, params)
    if load.warm_up:
        _warm_up(backend)
    return Worker(channel, backend, load)


def _warm_up(backend: Backend) -> None:
    from ixmodal.backends.base import Chunk

    token = backend.vocabulary.bos_id or 0
    backend.forward([Chunk(0, [token], 0)])


def _first_load(channel: Channel) -> Load | None:
    while (messages := channel.receive(wait=True)) is not None:
        for message in messages:
            if isinstance(message, Load):
                return message
    return None


def _exit_with_parent(parent: int) -> None:
    """End this process if the server's died while native code kept the loop from noticing."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Load what the first frame says, then serve until the socket closes."""
    # A terminal's Ctrl-C reaches the whole group; the server drains and then hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(int(sys.argv[2]),), daemon=True).start()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    load = _first_load(channel)
    if load is None:
        return
    try:
        worker = _load(channel, load)
    except (WeightsError, EngineError, ValueError) as error:
        channel.send(LoadFailed(str(error), isinstance(error, UnsupportedModelError)))
        raise SystemExit(1) from None
    channel.send(Ready(worker.model))
    worker.run()


if __name__ == "__main__":
    main()
