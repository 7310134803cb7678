"""One generation as the server sees it: what the engine sent and its reader has not taken yet."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

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
        self._usage = Usage()
        self._opening: Output | None = None
        self._reason: FinishReason | None = None
        self._error: IxmodalError | None = None
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        """True once the engine has nothing more to send."""
        return self._reason is not None or self._error is not None

    def put(self, message: FromWorker) -> None:
        """Take a frame of this generation."""
        if isinstance(message, Started):
            self._generation.accept(message.prompt_tokens, message.cached_tokens)
            self._usage = Usage(message.prompt_tokens, 0, message.cached_tokens, message.dropped_messages)
            self._opening = Output("", self._usage, starts_inside=message.starts_inside)
        elif isinstance(message, PromptRead):
            self._prompt_logprobs = message.logprobs
        elif isinstance(message, Refused | Failed):
            self._error = error_of(message)
        elif isinstance(message, Delta | Finished):
            self._text.append(message.text)
            self._logprobs += message.logprobs
            self._generation.advance(message.completion_tokens)
            counts = (message.completion_tokens, message.reasoning_tokens)
            self._usage = replace(self._usage, completion_tokens=counts[0], reasoning_tokens=counts[1])
            if isinstance(message, Finished):
                self._reason = message.reason
                self._generation.end(message.reason)
        self._news.set()

    def fail(self, error: IxmodalError) -> None:
        """End with an error, after the text that has already arrived."""
        if not self.ended:
            self._error = error
        self._news.set()

    async def next(self) -> Output:
        """What arrived since the last call; waits for something. Raises the error with which the generation ended."""
        await self._news.wait()
        if self._opening is not None:
            # Told alone, whatever else has come: the first output is about the prompt.
            opening, self._opening = self._opening, None
            if not (self._text or self._prompt_logprobs or self.ended):
                self._news.clear()
            return opening
        self._news.clear()
        text = "".join(self._text)
        self._text.clear()
        logprobs, self._logprobs = tuple(self._logprobs), []
        if self._error and not text:
            raise self._error
        if self._error:
            self._news.set()
        prompt_logprobs, self._prompt_logprobs = self._prompt_logprobs, ()
        return Output(text, self._usage, self._reason, logprobs, prompt_logprobs)
