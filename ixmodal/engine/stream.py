"""One generation as the server sees it: what the engine sent and its reader has not taken yet."""

from __future__ import annotations

import asyncio

from ixmodal.engine.generation import Generation
from ixmodal.engine.messages import Delta, Failed, Finished, FromWorker, PromptRead, Refused, Started
from ixmodal.engine.request import FinishReason, Output, TokenLogprob, Usage
from ixmodal.errors import ContextLengthError, EngineError, InvalidRequestError, IxmodalError, RequestError

_KINDS: dict[str | None, type[RequestError]] = {ContextLengthError.code: ContextLengthError}


def error_of(message: Refused | Failed) -> IxmodalError:
    """The exception that a frame stands for."""
    if isinstance(message, Failed):
        return EngineError(message.message)
    kind = _KINDS.get(message.code, InvalidRequestError)
    return kind(message.message, param=message.param, code=message.code)


class Stream:
    """Merges what arrives while its reader lags, so that it never holds more than one answer."""

    def __init__(self, generation: Generation | None = None) -> None:
        self._generation = generation or Generation()
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt_logprobs: tuple[TokenLogprob, ...] = ()
        self._opening: Started | None = None
        self._prompt = (0, 0, 0)
        self._completion_tokens = self._reasoning_tokens = 0
        self._reason: FinishReason | None = None
        self._error: IxmodalError | None = None
        self._has_news = False
        self._reader: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def ended(self) -> bool:
        """True once the engine has nothing more to send."""
        return self._reason is not None or self._error is not None

    def put(self, message: FromWorker) -> None:
        """Take a message of this generation."""
        if isinstance(message, Delta | Finished):
            self._add(message)
        elif isinstance(message, Started):
            self._generation.accept(message.prompt_tokens, message.cached_tokens)
            self._prompt = (message.prompt_tokens, message.cached_tokens, message.dropped_messages)
            self._opening = message
        elif isinstance(message, PromptRead):
            self._prompt_logprobs = message.logprobs
        elif isinstance(message, Refused | Failed):
            self._error = error_of(message)
        self._wake()

    def _add(self, message: Delta | Finished) -> None:
        self._text.append(message.text)
        self._logprobs += message.logprobs
        self._completion_tokens = message.completion_tokens
        self._reasoning_tokens = message.reasoning_tokens
        self._generation.advance(message.completion_tokens)
        if isinstance(message, Finished):
            self._reason = message.reason
            self._generation.end(message.reason)

    def fail(self, error: IxmodalError) -> None:
        """End with an error, after the text that has already arrived."""
        if not self.ended:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        self._has_news = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def next(self) -> Output:
        """What arrived since the last call; waits for something. Raises the error with which the generation ended."""
        if not self._has_news:
            self._reader = self._loop.create_future()
            await self._reader
        if self._opening is not None:
            # Told alone, whatever else has come: the first output is about the prompt.
            opening, self._opening = self._opening, None
            self._has_news = bool(self._text or self._prompt_logprobs or self.ended)
            return Output("", self._usage(0, 0), starts_inside=opening.starts_inside)
        text = "".join(self._text)
        if self._error is not None and not text:
            raise self._error
        self._has_news = self._error is not None
        self._text.clear()
        logprobs = tuple(self._logprobs)
        self._logprobs.clear()
        prompt_logprobs, self._prompt_logprobs = self._prompt_logprobs, ()
        usage = self._usage(self._completion_tokens, self._reasoning_tokens)
        return Output(text, usage, self._reason, logprobs, prompt_logprobs)

    def _usage(self, completion_tokens: int, reasoning_tokens: int) -> Usage:
        prompt_tokens, cached_tokens, dropped_messages = self._prompt
        return Usage(prompt_tokens, completion_tokens, cached_tokens, dropped_messages, reasoning_tokens)
