"""What the server sees of an engine: requests in, answers out, health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ixmodal.engine.admission import Admission
from ixmodal.engine.messages import (
    Decode,
    Decoded,
    Embed,
    Embedded,
    Encode,
    Encoded,
    FromWorker,
    Generate,
    Load,
    ToWorker,
)
from ixmodal.engine.reply import Reply
from ixmodal.engine.request import GenerationRequest, ModelInfo, Output, Pooling, Prompt
from ixmodal.engine.stream import Stream
from ixmodal.engine.supervisor import EngineState, Supervisor
from ixmodal.errors import DeadlineError, EngineDeadError, EngineNotReadyError
from ixmodal.spec import Limits

_TRIES = 2
_QUESTIONS = 4


class EngineClient:
    """One model's engine behind its queue. All calls belong to one event loop."""

    def __init__(self, load: Load, limits: Limits, max_queued: int) -> None:
        self._limits = limits
        self.slots = load.slots
        self.admission = Admission(load.slots, max_queued, limits.queue_timeout)
        self.supervisor = Supervisor(
            load,
            load_timeout=limits.load_timeout,
            progress_timeout=limits.progress_timeout,
            max_restarts=limits.max_restarts,
        )
        # Questions without a slot are quick, but each holds up the decoding: a few at a time.
        self._questions = asyncio.Semaphore(_QUESTIONS)
        self.requests = 0
        self.tokens = 0

    @property
    def state(self) -> EngineState:
        """Where the engine stands."""
        return self.supervisor.state

    @property
    def model(self) -> ModelInfo | None:
        """What is known of the model once it has been loaded."""
        return self.supervisor.model

    async def generate(self, request: GenerationRequest, deadline: float | None = None) -> AsyncGenerator[Output, None]:
        """Answer a request, by `deadline` of the event loop's clock, or within `limits.request_timeout` from now.

        The first output comes as soon as the prompt was accepted, with its usage and no text; the last one has a finish
        reason. A request under which the engine dies is tried once more unless text of it was already yielded.
        Closing the iterator frees the slot, wherever the request is.

        Raises:
            BusyError: the queue is full.
            RequestError: the engine refuses the request.
            DeadlineError: the request took longer.
            EngineError: the engine can't answer now.
        """
        self.requests += 1
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._limits.request_timeout
        async with self.admission.slot():
            started = told = False
            for attempt in range(1, _TRIES + 1):
                try:
                    async with aclosing(self._attempt(request, deadline)) as outputs:
                        async for output in outputs:
                            if started and not (output.text or output.finish_reason or output.prompt_logprobs):
                                continue
                            started, told = True, told or bool(output.text)
                            yield output
                    return
                except EngineDeadError:
                    if told or attempt == _TRIES:
                        raise

    async def embed(self, prompt: Prompt, pooling: Pooling) -> Embedded:
        """Turn a prompt into a vector. Raises what `generate` raises."""
        self.requests += 1
        async with self.admission.slot():
            answer = await self._ask(lambda number: Embed(number, prompt, pooling))
        assert isinstance(answer, Embedded)
        return answer

    async def encode(self, prompt: Prompt) -> Encoded:
        """Tokenize a prompt. Raises `RequestError` or `EngineError`."""
        async with self._questions:
            answer = await self._ask(lambda number: Encode(number, prompt))
        assert isinstance(answer, Encoded)
        return answer

    async def decode(self, tokens: list[int]) -> str:
        """The text of token ids. Raises `RequestError` or `EngineError`."""
        async with self._questions:
            answer = await self._ask(lambda number: Decode(number, tokens))
        assert isinstance(answer, Decoded)
        return answer.text

    async def _ask(self, make: Callable[[int], ToWorker]) -> FromWorker:
        """A question with one answer; asked once more if the engine dies under it."""
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout
        for attempt in range(1, _TRIES + 1):
            await self._ready(deadline)
            reply = Reply()
            id = self.supervisor.submit(make, reply)
            try:
                async with asyncio.timeout_at(deadline):
                    return await reply.wait()
            except EngineDeadError:
                if attempt == _TRIES:
                    raise
            except TimeoutError:
                raise self._late() from None
            finally:
                self.supervisor.forget(id)
        raise AssertionError

    def _late(self) -> DeadlineError:
        limit = self._limits.request_timeout
        return DeadlineError(f"The request took longer than {limit:g} seconds and was stopped; ask for less.")

    async def describe(self) -> ModelInfo:
        """What the model is; waits for its first load. Raises `EngineError` if it can't be loaded in time."""
        if self.supervisor.model is None:
            await self._ready(asyncio.get_running_loop().time() + self._limits.queue_timeout)
        assert self.supervisor.model is not None
        return self.supervisor.model

    async def _attempt(self, request: GenerationRequest, deadline: float) -> AsyncGenerator[Output, None]:
        await self._ready(deadline)
        stream = Stream()
        id = self.supervisor.submit(lambda number: Generate(number, request), stream)
        counted = 0
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        output = await stream.next()
                except TimeoutError:
                    raise self._late() from None
                self.tokens += output.usage.completion_tokens - counted
                counted = output.usage.completion_tokens
                yield output
                if output.finish_reason is not None:
                    return
        finally:
            self.supervisor.forget(id)

    async def _ready(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline), asyncio.timeout(self._limits.queue_timeout):
                await self.supervisor.wait_ready()
        except TimeoutError:
            raise EngineNotReadyError(f"The model is still {self.state}. Please retry shortly.") from None
