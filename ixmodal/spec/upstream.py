"""The declaration of a model that another OpenAI-compatible server answers for, and of who takes over for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from ixmodal.spec.declared import Declared
from ixmodal.spec.keys import SECRET_PREFIX

if TYPE_CHECKING:
    from ixmodal.spec.model import Model

UPSTREAM_KEY_VARIABLE = "IXMODAL_UPSTREAM_KEY"
"""The environment variable in which a platform secret holds an upstream's key, unless the spec names another."""
_ENV_PREFIX = "env:"
_SCHEMES = ("http", "https")
_NOT_OF_WEIGHTS = frozenset({"id", "aliases", "upstream"})


class Upstream(Declared):
    """Another OpenAI-compatible server. Requests for the model go there as they are, but for `model` and the key."""

    url: str = Field(description="Its base URL with the version, for example https://host/v1.")
    key: str | None = Field(
        None,
        repr=False,
        description="`env:NAME` (an environment variable), `secret:NAME` (a platform secret whose "
        f"{UPSTREAM_KEY_VARIABLE} holds it), `secret:NAME:VARIABLE`, or a literal. Unset: none is sent.",
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="The model's id over there; unset: the same."
    )
    max_connections: int = Field(
        64, ge=1, le=10_000, description="Requests forwarded at the same time; more wait as for a slot."
    )

    @field_validator("url")
    @classmethod
    def _base_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            raise ValueError("it is no valid URL; write, for example, https://host/v1") from None
        if not usable or not url.isascii() or any(sign <= " " for sign in url):
            raise ValueError("write http:// or https:// with a host and a path, for example https://host/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL with a user or a password is not used; put the key into `key`")
        if parts.query or parts.fragment:
            raise ValueError("write the base URL without ? and #; paths are added to it")
        return url.rstrip("/")

    @field_validator("key", mode="before")
    @classmethod
    def _usable_key(cls, key: Any) -> Any:
        # Told without the value: it may be a secret.
        if key is None:
            return None
        if not isinstance(key, str) or not key.isascii() or not key.isprintable() or not key.strip():
            raise ValueError("write the key, env:NAME, secret:NAME or secret:NAME:VARIABLE, in printable ASCII")
        if key.startswith((SECRET_PREFIX, _ENV_PREFIX)) and not all(key.split(":")):
            raise ValueError("a name is missing; write env:NAME, secret:NAME or secret:NAME:VARIABLE")
        if key.startswith(_ENV_PREFIX) and key.count(":") > 1:
            raise ValueError("write env:NAME, the name of one environment variable")
        if key.startswith(SECRET_PREFIX) and key.count(":") > 2:
            raise ValueError("write secret:NAME or secret:NAME:VARIABLE")
        return key

    @property
    def secret(self) -> str | None:
        """The name of the platform secret that holds the key."""
        return self.key.split(":")[1] if self.key and self.key.startswith(SECRET_PREFIX) else None

    @property
    def variable(self) -> str | None:
        """The environment variable that holds the key where this runs; None for a literal, or without a key."""
        if self.key is None or not self.key.startswith((SECRET_PREFIX, _ENV_PREFIX)):
            return None
        _, name, *rest = self.key.split(":")
        if self.key.startswith(_ENV_PREFIX):
            return name
        return rest[0] if rest else UPSTREAM_KEY_VARIABLE


def check_alone(model: Model) -> None:
    """Refuse what needs weights on a model that has none here. Raises `ValueError` with the field."""
    if model.upstream is None:
        return
    if extra := sorted(model.model_fields_set - _NOT_OF_WEIGHTS):
        raise ValueError(
            f"{', '.join(f'`{name}`' for name in extra)} can't be set beside `upstream`, whose server decides it; "
            "leave it out"
        )


def check_overflows(models: Sequence[Model]) -> None:
    """Check `overflow_to` of each model against the others. Raises `ValueError` with the field and what to write."""
    by_name = {name: model for model in models for name in (model.id, *model.aliases)}
    upstreams = [model.id for model in models if model.upstream]
    choice = f"write one of {', '.join(upstreams)}" if upstreams else "declare a model with `upstream` for it"
    for index, model in enumerate(models):
        if model.overflow_to is None:
            continue
        where = f"models.{index}.overflow_to"
        target = by_name.get(model.overflow_to)
        if target is None:
            raise ValueError(f'{where}: no model has the id "{model.overflow_to}"; {choice}')
        if target is model:
            raise ValueError(f"{where}: a model can't overflow to itself; {choice}")
        if target.upstream is None:
            raise ValueError(f'{where}: "{model.overflow_to}" is served here too, so it is no way out; {choice}')
