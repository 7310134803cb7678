"""What the server sees of an engine: requests in, answers out, health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ixmodal.engine.admission import Admission, Group
from ixmodal.engine.generation import Generation, Observer
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
from ixmodal.engine.request import GenerationRequest, ModelInfo, Output, Pooling, Prompt, Usage
from ixmodal.engine.stream import Stream
from ixmodal.engine.supervisor import EngineState, Supervisor
from ixmodal.errors import DeadlineError, EngineDeadError, EngineNotReadyError
from ixmodal.spec import Limits

Wake = Callable[[], Awaitable[None]]
"""Opens an engine and waits until it is ready. Raises `EngineNotReadyError` if that can't be, or not soon."""
_TRIES = 2
_QUESTIONS = 4


class EngineClient:
    """One model's engine behind its queue. All calls belong to one event loop."""

    def __init__(self, slots: int, limits: Limits, max_queued: int, wake: Wake | None = None) -> None:
        """`wake` is asked to open an engine for a request that finds none."""
        self._limits = limits
        self._wake = wake
        self._past_restarts = 0
        self.slots = slots
        self.admission = Admission(slots, max_queued, limits.queue_timeout)
        self.supervisor: Supervisor | None = None
        self.last_used = time.monotonic()
        # Questions without a slot are quick, but each holds up the decoding: a few at a time.
        self._questions = asyncio.Semaphore(_QUESTIONS)
        self.requests = 0
        self.tokens = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Of the prompts' tokens, those that a slot already held."""
        self.places: list[Generation | None] = [None] * slots
        """What holds the slots now."""
        self.observer: Observer | None = None

    @property
    def state(self) -> EngineState:
        """Where the engine stands; `stopped` while there is none."""
        return self.supervisor.state if self.supervisor else EngineState.STOPPED

    @property
    def is_open(self) -> bool:
        """True while an engine loads, runs or restarts."""
        return self.state not in (EngineState.STOPPED, EngineState.FAILED)

    @property
    def model(self) -> ModelInfo | None:
        """What is known of the model once it has been loaded."""
        return self.supervisor.model if self.supervisor else None

    @property
    def pid(self) -> int | None:
        """The engine's process, if one lives."""
        return self.supervisor.pid if self.supervisor else None

    @property
    def restarts(self) -> int:
        """Engine processes that had to be replaced, since the start."""
        return self._past_restarts + (self.supervisor.restarts if self.supervisor else 0)

    def open(self, load: Load) -> Supervisor:
        """Put an engine behind the queue, in place of one that ended. It begins to load with its `start`."""
        self._past_restarts = self.restarts
        self.supervisor = Supervisor(
            load,
            load_timeout=self._limits.load_timeout,
            progress_timeout=self._limits.progress_timeout,
            max_restarts=self._limits.max_restarts,
        )
        self.last_used = time.monotonic()
        return self.supervisor

    async def close(self) -> None:
        """End the engine. The queue stays: a request that comes later wakes another."""
        self._past_restarts = self.restarts
        ended, self.supervisor = self.supervisor, None  # at once: one that is woken meanwhile is another
        if ended:
            await ended.stop()

    async def generate(self, request: GenerationRequest, group: Group | None = None) -> AsyncGenerator[Output, None]:
        """Answer a request, by its group's deadline, or within `limits.request_timeout` from now.

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
        deadline = group.deadline if group else None
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._limits.request_timeout
        generation = Generation(request.sampling)
        async with self._slot(generation, group):
            started = told = False
            for attempt in range(1, _TRIES + 1):
                try:
                    async with self._sent(request, generation, deadline) as stream:
                        counted = Usage()
                        while True:
                            output = await stream.next()
                            self._count(output.usage, counted)
                            counted = output.usage
                            if not started or output.text or output.finish_reason or output.prompt_logprobs:
                                started, told = True, told or bool(output.text)
                                yield output
                            if output.finish_reason is not None:
                                return
                except EngineDeadError:
                    if told or attempt == _TRIES:
                        raise

    async def embed(self, prompt: Prompt, pooling: Pooling, group: Group | None = None) -> Embedded:
        """Turn a prompt into a vector. Raises what `generate` raises."""
        self.requests += 1
        generation = Generation()
        async with self._slot(generation, group):
            answer = await self._ask(lambda number: Embed(number, prompt, pooling), generation)
            assert isinstance(answer, Embedded)
            generation.accept(answer.prompt_tokens, 0)
            self.prompt_tokens += answer.prompt_tokens
            generation.end("embedded")
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

    @asynccontextmanager
    async def _slot(self, generation: Generation, group: Group | None) -> AsyncIterator[None]:
        """Hold a slot for a generation, and tell the observer of its begin and end."""
        if self.observer:
            self.observer.begun(generation)
        try:
            async with self.admission.slot(group):
                place = self.places.index(None)
                self.places[place] = generation
                try:
                    yield
                finally:
                    self.places[place] = None
        except (asyncio.CancelledError, GeneratorExit):
            generation.end("cancelled")
            raise
        except BaseException:
            generation.end("failed")
            raise
        finally:
            generation.end("cancelled")
            if self.observer:
                self.observer.ended(generation)

    async def _ask(self, make: Callable[[int], ToWorker], generation: Generation | None = None) -> FromWorker:
        """A question with one answer; asked once more if the engine dies under it."""
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout
        for attempt in range(1, _TRIES + 1):
            supervisor = await self._ready(deadline)
            reply = Reply()
            if generation:
                generation.send()
            id = supervisor.submit(make, reply)
            try:
                async with asyncio.timeout_at(deadline):
                    return await reply.wait()
            except EngineDeadError:
                if attempt == _TRIES:
                    raise
            except TimeoutError:
                raise self._late() from None
            finally:
                supervisor.forget(id)
                self.last_used = time.monotonic()
        raise AssertionError

    def _late(self) -> DeadlineError:
        limit = self._limits.request_timeout
        return DeadlineError(f"The request took longer than {limit:g} seconds and was stopped; ask for less.")

    async def describe(self) -> ModelInfo:
        """What the model is; waits for its first load. Raises `EngineError` if it can't be loaded in time."""
        if self.model is None:
            supervisor = await self._ready(asyncio.get_running_loop().time() + self._limits.queue_timeout)
            return await supervisor.wait_ready()
        return self.model

    @asynccontextmanager
    async def _sent(self, request: GenerationRequest, generation: Generation, deadline: float) -> AsyncIterator[Stream]:
        """A generation at the engine for the block, and until the deadline; one timer for all its tokens."""
        supervisor = await self._ready(deadline)
        generation.send()
        stream = Stream(generation)
        id = supervisor.submit(lambda number: Generate(number, request), stream)
        timer = asyncio.get_running_loop().call_at(deadline, self._expire, supervisor, id, stream)
        try:
            yield stream
        finally:
            timer.cancel()
            supervisor.forget(id)
            self.last_used = time.monotonic()

    def _expire(self, supervisor: Supervisor, id: int, stream: Stream) -> None:
        """The time of a generation is over: end it, if it has not ended. What it said is still read."""
        supervisor.forget(id)
        stream.fail(self._late())

    def _count(self, usage: Usage, before: Usage) -> None:
        self.tokens += usage.completion_tokens - before.completion_tokens
        self.prompt_tokens += usage.prompt_tokens - before.prompt_tokens
        self.cached_tokens += usage.cached_tokens - before.cached_tokens

    async def _ready(self, deadline: float) -> Supervisor:
        try:
            async with asyncio.timeout_at(deadline), asyncio.timeout(self._limits.queue_timeout):
                if not self.is_open and self._wake:
                    await self._wake()
                if self.supervisor is None:
                    raise EngineNotReadyError("The model is not loaded. Please retry later.")
                await self.supervisor.wait_ready()
                return self.supervisor
        except TimeoutError:
            raise EngineNotReadyError(f"The model is still {self.state}. Please retry shortly.") from None
