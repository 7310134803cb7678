"""Everything that can go wrong, as one tree.

    IxmodalError
    ├── SpecError                 the declaration is wrong; nothing was started
    ├── WeightsError              a model's file is missing, changed or can't be fetched
    │   └── UnsupportedModelError   the file is whole, but no engine here loads it
    ├── RequestError              the caller's request can't be honoured; the engine is well
    │   ├── InvalidRequestError     a field has a wrong value
    │   ├── ContextLengthError      prompt and answer don't fit into the context
    │   └── ModelNotFoundError      no model has that id
    ├── BusyError                 the queue is full, or the wait for a slot took too long
    ├── DeadlineError             the request ran past its time limit
    ├── EngineError               the engine failed; the request may be sent again
    │   ├── EngineNotReadyError     still loading or restarting
    │   ├── EngineDeadError         the engine process died or hung under this request
    │   └── ServerStoppingError     the server ends: another one, or this one later, answers
    └── UpstreamError             the server that answers for a model can't be reached, or broke off
        └── UpstreamTimeoutError    it did not answer in time

Each message says what went wrong, where, and what to do; none holds a traceback or a secret.
`server/errors.py` maps this tree to HTTP.
"""

from __future__ import annotations


class IxmodalError(Exception):
    """Root of every error that ixmodal raises on purpose."""

    @property
    def message(self) -> str:
        """The sentence for the person who has to act."""
        return str(self.args[0]) if self.args else type(self).__name__


class SpecError(IxmodalError):
    """The declaration can't be used. `problems` holds one line for each wrong field."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join([f"{source} is not a valid spec:", *(f"  {p}" for p in problems)]))


class WeightsError(IxmodalError):
    """A model's weights can't be had as declared."""


class UnsupportedModelError(WeightsError):
    """The weights are readable, but of a kind that no engine here loads."""


class RequestError(IxmodalError):
    """A request that can't be honoured as sent. `param` names the field, where there is one."""

    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or self.code


class InvalidRequestError(RequestError):
    """A field of the request is malformed, out of range or not supported."""


class ContextLengthError(RequestError):
    """Prompt and answer together are longer than the model's context (lengths in tokens)."""

    code = "context_length_exceeded"


class ModelNotFoundError(RequestError):
    """No model of the spec has the requested id."""

    code = "model_not_found"


class BusyError(IxmodalError):
    """No room now. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(IxmodalError):
    """The request ran past its time limit."""


class EngineError(IxmodalError):
    """The engine failed through no fault of the request. `retry_after` is in seconds."""

    retry_after = 1


class EngineNotReadyError(EngineError):
    """The engine is loading or restarting."""


class InsufficientMemoryError(EngineNotReadyError):
    """A model does not fit beside what is loaded. `kind` is `memory` or `vram`; sizes are in MiB."""

    def __init__(self, kind: str, *, free_mib: int, required_mib: int, model: str | None = None) -> None:
        self.missing_mib = required_mib - free_mib
        """What would have to become free: more than is required where a budget is exceeded already."""
        self.kind, self.free_mib, self.required_mib = kind, max(0, free_mib), required_mib
        where = "GPU memory" if kind == "vram" else "memory"
        super().__init__(
            f"{f'The model {model}' if model else 'It'} does not fit: {required_mib} MiB of {where} are needed, "
            f"{self.free_mib} MiB are free. Unload another model, or give it fewer slots or a shorter context."
        )

    def of(self, model: str) -> InsufficientMemoryError:
        """The same error, with the model's name in its message."""
        return InsufficientMemoryError(self.kind, free_mib=self.free_mib, required_mib=self.required_mib, model=model)


class EngineDeadError(EngineError):
    """The engine process died, or was ended because it hung, while it worked on this request."""


class ServerStoppingError(EngineError):
    """The server is about to end and takes no request, or could not end this one in time."""

    retry_after = 2

    def __init__(self, message: str = "The server is stopping. Please send the request again.") -> None:
        super().__init__(message)


class UpstreamError(IxmodalError):
    """Another server, which answers for a model, can't be reached, broke off, or answers what can't be passed on."""


class UpstreamTimeoutError(UpstreamError):
    """Another server did not answer in time."""
