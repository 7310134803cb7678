"""What a spec means in any container: paths, times, secrets, and what can't be had there."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from ixmodal.errors import SpecError
from ixmodal.spec import SECRET_PREFIX, App
from ixmodal.spec.keys import ENVIRONMENT_PREFIX, FILE_PREFIX
from ixmodal.spec.sources import KEYS_VARIABLE, SPEC_VARIABLE, WEIGHTS_VARIABLE

PORT = 8000
USER = 10001
"""Numeric, so that Kubernetes can see that it is not root."""
HOME = "/var/lib/ixmodal"
TEMPORARY = "/tmp"  # noqa: S108  # a file system of the container's own
VENV = "/opt/venv"
SPEC_DIRECTORY = "/etc/ixmodal"
SPEC_FILE = "spec.json"
HUB_TOKEN = "HF_TOKEN"  # noqa: S105  # the variable's name, not its value
PLACING = 600
"""Seconds that a platform may need to find a node for a replica and to load its image there."""
LISTENING = 60
"""Seconds that a start takes at most where nothing has to be loaded."""
UNROUTING = 5
"""Seconds that load balancers get to stop sending requests before the server stops taking them."""
ENDING = 15
"""Seconds that the processes need to end once no request runs."""
STATE_VARIABLE = "IXMODAL_STATE__URL"


@dataclass(frozen=True)
class Secret:
    """A value that comes from outside: the variable it arrives in, and the platform's secret that holds it."""

    variable: str
    store: str


def secrets(spec: App) -> tuple[Secret, ...]:
    """The secrets that the server can't do without: keys of callers and of upstreams.

    Raises:
        SpecError: a secret stands in the spec itself or in a file of this machine, or two would set one variable.
    """
    problems = []
    found = []
    for source in spec.endpoint.key_sources:  # a literal key is a digest by now, which may be read by all
        if source.startswith(SECRET_PREFIX):
            found.append(Secret(KEYS_VARIABLE, source.removeprefix(SECRET_PREFIX)))
        elif source.startswith(ENVIRONMENT_PREFIX):
            found.append(Secret(source.removeprefix(ENVIRONMENT_PREFIX), f"{spec.name}-env"))
        elif source.startswith(FILE_PREFIX):
            problems.append(f"endpoint.api_keys: {source} is not in the image; write secret:NAME or env:VARIABLE")
    for index, model in enumerate(spec.models):
        if model.upstream and model.upstream.variable:
            found.append(Secret(model.upstream.variable, model.upstream.secret or f"{spec.name}-env"))
        elif model.upstream and model.upstream.key:
            problems.append(
                f"models.{index}.upstream.key: it would be written into the rendered files; "
                "write secret:NAME or env:VARIABLE, and set it where the server runs"
            )
    if spec.state.url and "@" in spec.state.url:
        problems.append(
            f"state.url: its password would be written into the rendered files; leave it out, and set {STATE_VARIABLE} "
            "to the whole URL where the server runs"
        )
    found = list(dict.fromkeys(found))
    variables = [secret.variable for secret in found]
    twice = {variable for variable in variables if variables.count(variable) > 1}
    problems += [f"several secrets would set {variable}; put their values into one" for variable in sorted(twice)]
    if problems:
        raise SpecError("the spec", problems)
    return tuple(found)


def optional_secrets(spec: App) -> tuple[Secret, ...]:
    """What the server takes if it is there: the hub's token where it downloads itself, the address of shared state."""
    token = (Secret(HUB_TOKEN, f"{spec.name}-hub"),) if downloads(spec) and not spec.weights else ()
    return (*token, Secret(STATE_VARIABLE, f"{spec.name}-state")) if spec.state.url else token


def environment(spec: App) -> dict[str, str]:
    """The variables, none secret, that the server and `ixmodal pull` need in a container."""
    variables = {SPEC_VARIABLE: f"{SPEC_DIRECTORY}/{SPEC_FILE}"}
    if spec.weights:
        variables[WEIGHTS_VARIABLE] = spec.weights.mount  # said outright, for it may be mounted read-only
    return variables


def spec_text(spec: App) -> str:
    """The spec as the JSON file that containers read, without what only Modal has."""
    return spec.model_dump_json(exclude_unset=True, exclude={"modal"}, indent=2) + "\n"


def downloads(spec: App) -> int:
    """How many models have to be downloaded."""
    return sum(model.source.startswith(("hf://", "https://")) for model in spec.local_models)


def check_places(spec: App) -> None:
    """Refuse paths that no container has, or that it may not write. Raises `SpecError`."""
    problems = []
    for index, model in enumerate(spec.models):
        if model.source.startswith("file://") and not spec.weights:  # with a volume, the spec itself has checked it
            problems.append(
                f"models.{index}.source: {model.source} is not in the image; declare `weights` with a mount above the "
                "file, and put it onto that volume"
            )
    if spec.weights and any(_overlap(spec.weights.mount, taken) for taken in (HOME, SPEC_DIRECTORY, TEMPORARY, VENV)):
        problems.append(f"weights.mount: {spec.weights.mount} is taken in the image; write, for example, /weights")
    if spec.state.dict_name:
        problems.append("state.url: modal-dict:// is on Modal only; write redis://… here, or leave it out")
    state = spec.state.path
    if state and state.startswith("/") and not any(PurePosixPath(state).is_relative_to(p) for p in (HOME, TEMPORARY)):
        problems.append(f"state.path: {state} can't be written in a container; write a path below {HOME}, or none")
    problems += missing_engines(spec)
    if problems:
        raise SpecError("the spec", problems)


def missing_engines(spec: App, judged: Collection[str] = ()) -> list[str]:
    """A problem for each model whose engine is not in the image, where llama.cpp would have to be compiled.

    `judged` are ids of models whose files only llama.cpp loads, whatever the spec says of their engine.
    """
    if any(package.replace("_", "-").startswith("llama-cpp-python") for package in spec.image.packages):
        return []
    return [
        f'models.{index}.engine: llama_cpp is not in the image; add "llama-cpp-python" to image.packages, and '
        '"build-essential" and "cmake", which compile it, to image.system_packages'
        for index, model in enumerate(spec.models)
        if model.engine == "llama_cpp" or model.id in judged
    ]


def _overlap(one: str, other: str) -> bool:
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def startup_seconds(spec: App) -> int:
    """The longest that a start may take: loading, and downloads where no volume keeps them."""
    pulling = 0 if spec.weights else downloads(spec)
    loading = spec.limits.load_timeout * len(spec.local_models)
    return max(LISTENING, math.ceil(loading + spec.limits.download_timeout * pulling))


def grace_seconds(spec: App) -> int:
    """Seconds from the decision to stop a replica until it may be killed."""
    return UNROUTING + math.ceil(spec.limits.drain_timeout) + ENDING


def answer_seconds(spec: App) -> int:
    """The longest that a request may wait and run."""
    return math.ceil(spec.limits.queue_timeout + spec.limits.request_timeout)


def calls_out(spec: App) -> bool:
    """Whether the server itself has any reason to open a connection: downloads, upstreams, shared state, tools."""
    upstreams = any(model.upstream for model in spec.models)
    tools = any(agent.tools for agent in spec.agents)
    return bool(upstreams or tools or spec.state.url or (downloads(spec) and not spec.weights))


def gpu_count(spec: App) -> int:
    """GPUs of a replica: `H100:2` asks for two."""
    if not spec.gpu:
        return 0
    count = spec.gpu[0].partition(":")[2] or "1"
    if not count.isdecimal() or int(count) < 1:
        raise SpecError(
            "the spec", [f"gpu: {spec.gpu[0]!r} has no number of GPUs after the colon; write, e.g., H100:2"]
        )
    return int(count)
