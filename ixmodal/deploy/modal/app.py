"""From a spec to a `modal.App`."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import modal

from ixmodal.deploy.modal.checks import downloads, problems
from ixmodal.deploy.modal.image import make_image
from ixmodal.deploy.modal.pulling import pull
from ixmodal.deploy.modal.replica import Engine, Server
from ixmodal.deploy.modal.secrets import hub_secrets, replica_secrets
from ixmodal.deploy.modal.volumes import pull_storage, replica_storage
from ixmodal.errors import SpecError
from ixmodal.spec import App
from ixmodal.spec.sources import SPEC_VARIABLE

LONGEST_TIMEOUT = 86_400
"""Seconds that Modal lets an input or a start take at most: one day."""
LONGEST_GRACE = 3600
"""Seconds that Modal lets a server take to end at most."""
_PULLS: WeakKeyDictionary[modal.App, modal.Function[..., Any, Any]] = WeakKeyDictionary()
ENDING = 5
"""Seconds that a replica needs to end beyond its running requests."""


def build(spec: App) -> modal.App:
    """Turn the declaration into Modal's own objects: image, volumes, secrets, scaling and the endpoint.

    `pull_of` finds the function that fills the weights volume, where the spec has one and something to pull.

    Raises:
        SpecError: what Modal can't do as declared, and API keys that can't reach the containers.
    """
    if found := problems(spec):
        raise SpecError("the spec", found)
    app = modal.App(spec.name, image=make_image(spec), include_source=False)
    (_add_server if spec.modal.serve_with == "server" else _add_engine)(app, spec, _replica(spec))
    _add_pull(app, spec)
    return app


def pull_of(app: modal.App) -> modal.Function[..., Any, Any]:
    """The function that fills the weights volume. Bound to a name in a file, `modal run FILE::NAME` runs it.

    Raises:
        SpecError: the app was not built here, or its spec has no volume or nothing to download.
    """
    if found := _PULLS.get(app):
        return found
    raise SpecError("the spec", ["weights: there is nothing to pull without a volume and models to download"])


def _replica(spec: App) -> dict[str, Any]:
    """What both ways of serving are declared with."""
    storage = replica_storage(spec)
    pulls = hub_secrets(spec) if spec.modal.pull == "on_start" else []
    return {
        "env": _environment(spec, storage.environment),
        "secrets": [*replica_secrets(spec), *pulls],
        "volumes": storage.volumes,
        "gpu": list(spec.gpu) or None,
        "cpu": spec.cpu,
        "memory": spec.memory_mib,
        "min_containers": spec.scaling.min_replicas,
        "max_containers": spec.scaling.max_replicas,
        "buffer_containers": spec.scaling.buffer_replicas,
        "scaledown_window": spec.scaling.scaledown_window,
        "startup_timeout": _seconds(_start_timeout(spec)),
        "enable_memory_snapshot": spec.modal.snapshot != "off",
        "experimental_options": {"enable_gpu_snapshot": True} if spec.modal.snapshot == "gpu" else None,
    }


def _add_engine(app: modal.App, spec: App, common: dict[str, Any]) -> None:
    endpoint = modal.asgi_app(
        label=spec.endpoint.label,
        custom_domains=spec.modal.custom_domains or None,
        requires_proxy_auth=spec.modal.proxy_auth,
    )
    replica = app.cls(
        **common,
        region=list(spec.region) or None,
        timeout=_seconds(spec.limits.queue_timeout + spec.limits.request_timeout),
    )
    load = modal.concurrent(max_inputs=spec.max_concurrency, target_inputs=spec.target_concurrency)
    replica(load(_declared(Engine, spec, serve=endpoint(Engine.asgi))))


def _add_server(app: modal.App, spec: App, common: dict[str, Any]) -> None:
    replica = app.server(
        **common,
        compute_region=list(spec.region) or None,
        routing_region=spec.modal.routing_region,
        target_concurrency=spec.target_concurrency,
        max_concurrency=spec.max_concurrency,
        port=spec.modal.port,
        unauthenticated=not spec.modal.proxy_auth,
        exit_grace_period=min(math.ceil(spec.limits.drain_timeout) + ENDING, LONGEST_GRACE),
    )
    replica(_declared(Server, spec))


def _add_pull(app: modal.App, spec: App) -> None:
    storage = pull_storage(spec)
    if storage is None or not downloads(spec):
        return
    _PULLS[app] = app.function(
        env=_environment(spec, storage.environment),
        secrets=hub_secrets(spec),
        volumes=storage.volumes,
        timeout=_seconds(_download_timeout(spec)),
    )(pull)


def _declared(cls: type, spec: App, **methods: Any) -> type:
    # What is declared about methods is known only here; containers look the name up and find the class itself.
    bases = cls.__bases__ if spec.modal.snapshot == "off" else (cls,)
    return type(cls.__name__, bases, {"__module__": cls.__module__, **methods})


def _environment(spec: App, further: dict[str, str]) -> dict[str, str | None]:
    return {SPEC_VARIABLE: spec.model_dump_json(exclude_unset=True), **further}


def _start_timeout(spec: App) -> float:
    pulling = _download_timeout(spec) if spec.modal.pull == "on_start" else 0
    return pulling + spec.limits.load_timeout * len(spec.local_models)


def _download_timeout(spec: App) -> float:
    return spec.limits.download_timeout * len(downloads(spec))


def _seconds(timeout: float) -> int:
    return min(math.ceil(timeout), LONGEST_TIMEOUT)
