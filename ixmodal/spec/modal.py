"""The declaration of what only Modal has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from ixmodal.spec.declared import Declared, Name

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
"""The name of an environment variable."""
Domain = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$")]
"""A fully qualified domain name, lower-case."""


class ModalSecret(Declared):
    """A secret of the workspace, whose variables the replicas get."""

    name: Name = Field(description="The secret's name.")
    required_keys: tuple[Variable, ...] = Field((), description="Variables it must hold; a deploy checks them.")

    def __init__(self, name: str | None = None, /, **fields: Any) -> None:
        super().__init__(**({"name": name} if name is not None else {}), **fields)


class Modal(Declared):
    """How an app is served on Modal, where that has no meaning elsewhere."""

    serve_with: Literal["asgi_app", "server"] = Field(
        "asgi_app", description="`asgi_app`: Modal queues and hands over requests; `server`: HTTP straight to the port."
    )
    port: int = Field(8000, ge=1024, le=65_535, description="The port of `server`.")
    routing_region: str = Field("us-east", min_length=1, description="Where `server` receives requests.")
    proxy_auth: bool = Field(
        False, description="Let Modal ask for a proxy token (Modal-Key, Modal-Secret) before a request comes here."
    )
    custom_domains: tuple[Domain, ...] = Field((), description="Domains of the workspace that lead to the endpoint.")
    pull: Literal["on_start", "ahead"] = Field(
        "on_start",
        description="Who fills the weights volume: the first replica, or `modal run app.py::pull` before it; then "
        "replicas mount it read-only.",
    )
    hub_secret: Name | None = Field(
        None, description="A secret whose HF_TOKEN the pull of hf:// models uses; unset: no token."
    )
    secrets: tuple[ModalSecret, ...] = Field((), description="Further secrets of the replicas.")
    snapshot: Literal["off", "cpu", "gpu"] = Field(
        "off",
        description="What a replica starts from: nothing, a memory snapshot after imports and checks of the weights, "
        "or one with the loaded model in GPU memory (alpha).",
    )

    @field_validator("custom_domains", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("secrets", mode="before")
    @classmethod
    def _a_name_is_a_secret(cls, value: Any) -> Any:
        secrets = (value,) if isinstance(value, str | ModalSecret) else value
        if not isinstance(secrets, list | tuple):
            return secrets
        return [{"name": secret} if isinstance(secret, str) else secret for secret in secrets]
