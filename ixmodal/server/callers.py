"""Who calls: a name, limits and rights. A request's caller is known wherever the request is worked on."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from ixmodal.errors import InvalidRequestError, ModelNotFoundError
from ixmodal.runtime import Runtime, ServedModel
from ixmodal.server.telemetry.account import note_model
from ixmodal.spec import RateLimit


@dataclass(frozen=True)
class Caller:
    """One who may call. `models` are ids; None: all of them. What it stores is its own, unless `is_alone`."""

    name: str
    limits: RateLimit
    models: frozenset[str] | None = None
    is_admin: bool = False
    is_alone: bool = False

    @property
    def shelf(self) -> str:
        """What the names of all that it stores begin with. Names hold no slash, so none leads to another's."""
        return "" if self.is_alone else f"{self.name}/"

    def may_use(self, id: str) -> bool:
        """Whether it may use the model or agent of that id."""
        return self.models is None or id in self.models


NOBODY = Caller("nobody", RateLimit(), is_alone=True)
"""Who calls where nobody is asked: on the public paths, and outside of requests."""
_current: ContextVar[Caller] = ContextVar("current_caller")


def current_caller() -> Caller:
    """The caller of the request that this task works on; tasks that a request starts inherit it."""
    return _current.get(NOBODY)


def shelved(id: str) -> str:
    """The name under which the store has what the current caller calls `id`: others' ids lead nowhere."""
    return current_caller().shelf + id


def set_caller(caller: Caller) -> None:
    """Say whose request this task works on."""
    _current.set(caller)


def find_model(runtime: Runtime, name: str | None) -> ServedModel:
    """The model that a request names, if its caller may use it.

    Raises:
        ModelNotFoundError: there is none, or the caller may not use it: which of the two is not told.
        InvalidRequestError: the request names none, and the spec has no default; or it names an agent.
    """
    caller = current_caller()
    try:
        served = runtime.find(name)
    except InvalidRequestError:
        agent = name or runtime.spec.default_model
        if agent is not None and not caller.may_use(agent):
            raise not_permitted(agent) from None
        raise
    except ModelNotFoundError:
        if caller.models is None:
            raise
        raise not_permitted(name or "") from None
    if not caller.may_use(served.model.id):
        raise not_permitted(name or served.model.id)
    note_model(served.model.id)
    return served


def not_permitted(name: str) -> ModelNotFoundError:
    """What a caller is told of a model that it may not use: the words of OpenAI's own service."""
    text = f"The model `{name:.128}` does not exist or you do not have access to it."
    return ModelNotFoundError(text, param="model")
