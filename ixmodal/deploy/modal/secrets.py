"""The secrets of a spec: keys that the spec only names, the hub's token, the deployer's own."""

from __future__ import annotations

import os

import modal

from ixmodal.errors import SpecError
from ixmodal.spec import App
from ixmodal.spec.keys import ENVIRONMENT_PREFIX
from ixmodal.spec.sources import KEYS_VARIABLE

HUB_VARIABLE = "HF_TOKEN"


def replica_secrets(spec: App) -> list[modal.Secret]:
    """What holds the keys of callers and of upstreams, and what else the spec wants replicas to know.

    Raises:
        SpecError: keys that can't reach the replicas as declared.
    """
    named = [*_named_keys(spec), *((s.name, s.required_keys) for s in spec.modal.secrets)]
    secrets = [modal.Secret.from_name(name, required_keys=list(keys)) for name, keys in named]
    values: dict[str, str | None] = {name: _local(field, name) for field, name in _variables(spec)}
    if len(set(spec.endpoint.secrets)) + (KEYS_VARIABLE in values) > 1:
        raise SpecError(
            "the spec", [f"endpoint.api_keys: several entries would set {KEYS_VARIABLE}; put all keys into one secret"]
        )
    return [*secrets, modal.Secret.from_dict(values)] if values else secrets


def hub_secrets(spec: App) -> list[modal.Secret]:
    """The secret with which `hf://` models are pulled, if the spec names one."""
    if spec.modal.hub_secret is None:
        return []
    return [modal.Secret.from_name(spec.modal.hub_secret, required_keys=[HUB_VARIABLE])]


def _named_keys(spec: App) -> list[tuple[str, tuple[str, ...]]]:
    found = [(name, (KEYS_VARIABLE,)) for name in spec.endpoint.secrets]
    upstreams = [model.upstream for model in spec.models if model.upstream]
    found += [(u.secret, (u.variable,)) for u in upstreams if u.secret and u.variable]
    return list(dict.fromkeys(found))


def _variables(spec: App) -> list[tuple[str, str]]:
    """Fields and the variables of this machine that they name."""
    sources = [s for s in spec.endpoint.key_sources if s.startswith(ENVIRONMENT_PREFIX)]
    found = [("endpoint.api_keys", source.removeprefix(ENVIRONMENT_PREFIX)) for source in sources]
    for index, model in enumerate(spec.models):
        if model.upstream and model.upstream.variable and not model.upstream.secret:
            found.append((f"models.{index}.upstream.key", model.upstream.variable))
    return found


def _local(field: str, name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise SpecError(
        "the spec",
        [f"{field}: {name} is not set here, so env:{name} can't be sent; set it, or write secret:NAME"],
    )
