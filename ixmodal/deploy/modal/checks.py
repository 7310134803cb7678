"""What a spec may declare but Modal can't do as declared."""

from __future__ import annotations

from ixmodal.deploy.target import STATE_VARIABLE, missing_engines
from ixmodal.spec import App, Model
from ixmodal.spec.keys import FILE_PREFIX

LONGEST_SILENCE = 140
"""Seconds that `asgi_app` may take to its first byte: after 150 Modal sends the client elsewhere, with a 303."""


def problems(spec: App) -> list[str]:
    """Everything that keeps a spec from Modal, each with its field and what to write instead; empty if nothing."""
    return [
        *_weights(spec),
        *_snapshot(spec),
        *_endpoint(spec),
        *_upstreams(spec),
        *_state(spec),
        *missing_engines(spec),
    ]


def downloads(spec: App) -> list[Model]:
    """The models whose weights come over the network."""
    return [model for model in spec.local_models if model.source.startswith(("hf://", "https://"))]


def _weights(spec: App) -> list[str]:
    if spec.modal.pull == "ahead" and downloads(spec) and spec.weights is None:
        return ['modal.pull: "ahead" needs a volume to pull to; set weights = Volume("NAME"), or write "on_start"']
    return []


def _snapshot(spec: App) -> list[str]:
    found = []
    if spec.modal.snapshot != "off" and spec.modal.pull == "on_start" and downloads(spec):
        found.append(
            'modal.snapshot: no snapshot can be taken of a replica that has just downloaded; write modal.pull = "ahead"'
        )
    if spec.modal.snapshot == "gpu" and not spec.gpu:
        found.append('modal.snapshot: "gpu" needs a GPU; set gpu, or write "cpu"')
    return found


def _endpoint(spec: App) -> list[str]:
    found = [_not_there(source) for source in spec.endpoint.key_sources if source.startswith(FILE_PREFIX)]
    if spec.modal.serve_with == "server":
        if spec.endpoint.label:
            found.append("endpoint.label: a server has no label; leave it out, or write modal.serve_with = asgi_app")
        if spec.modal.custom_domains:
            found.append("modal.custom_domains: a server has none; leave them out, or write serve_with = asgi_app")
    elif spec.limits.head_timeout > LONGEST_SILENCE:
        found.append(
            f"limits.head_timeout: Modal gives up on a stream's first byte after 150 s; write {LONGEST_SILENCE} or less"
        )
    return found


def _upstreams(spec: App) -> list[str]:
    found, holders = [], dict[str, str]()
    for index, model in enumerate(spec.models):
        upstream, field = model.upstream, f"models.{index}.upstream.key"
        if upstream is None or upstream.key is None:
            continue
        if upstream.variable is None:
            found.append(f"{field}: a literal would travel in the open, with the spec; write secret:NAME or env:NAME")
        elif holders.setdefault(upstream.variable, upstream.key) != upstream.key:
            found.append(
                f"{field}: {upstream.variable} is set for another upstream already; write secret:NAME:VARIABLE"
            )
    return found


def _state(spec: App) -> list[str]:
    if spec.state.url and "@" in spec.state.url:
        return [
            f"state.url: its password would travel in the open, with the spec; leave it out, set {STATE_VARIABLE} to "
            "the whole URL in a secret named by modal.secrets"
        ]
    return []


def _not_there(source: str) -> str:
    return f"endpoint.api_keys: {source} is a file of this machine; write secret:NAME, env:NAME or sha256:DIGEST"
