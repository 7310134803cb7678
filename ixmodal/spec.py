"""The declaration: one `App` says what is served, from which weights, with which limits, and how it scales.

Every home reads the same object: `uvicorn ixmodal.asgi:app`, `ixmodal serve`, `modal deploy app.py`.
The models are frozen and refuse unknown keys. Durations are seconds, sizes are bytes unless a name says otherwise.
Reading from TOML, JSON and the environment is in `spec_sources.py`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ixmodal.declared import Declared, ModelId, Name, Sha256
from ixmodal.spec_agents import AgentSpec, check_agents
from ixmodal.spec_endpoints import CustomEndpoint

SECRET_PREFIX = "secret:"  # noqa: S105  # the word, not a secret
SOURCE_SCHEMES = ("hf://", "https://", "file://", "package://")


class Image(Declared):
    """The container image in which the package runs."""

    python: str = Field("3.11", pattern=r"^3\.(1[1-9])$", description="Python version, 3.11 or newer.")
    accelerator: Literal["cpu", "cuda"] = Field(
        "cpu", description="`cuda` installs the runtime libraries that GPU offload needs."
    )
    base: str | None = Field(None, description="Registry tag of a base image; unset means slim Debian.")
    system_packages: tuple[str, ...] = Field((), description="Debian packages to install.")
    packages: tuple[str, ...] = Field((), description="Python requirements beyond the package's own.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables, no secrets.")

    @classmethod
    def cpu(cls, **fields: Any) -> Image:
        """An image without GPU libraries."""
        return cls(accelerator="cpu", **fields)

    @classmethod
    def cuda(cls, **fields: Any) -> Image:
        """An image with the CUDA runtime libraries."""
        return cls(accelerator="cuda", **fields)


class Volume(Declared):
    """A named disk that outlives containers and holds the weights."""

    name: Name = Field(description="The volume's name on the platform.")
    mount: str = Field("/weights", description="Absolute path at which containers see it.")

    def __init__(self, name: str | None = None, /, **fields: Any) -> None:
        super().__init__(**({"name": name} if name is not None else {}), **fields)

    @field_validator("mount")
    @classmethod
    def _absolute(cls, mount: str) -> str:
        path = PurePosixPath(mount)
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            raise ValueError("write an absolute path below /, for example /weights")
        return str(path)


class Model(Declared):
    """One language model: where its weights come from and how it is loaded."""

    id: ModelId = Field(description="The id that clients send as `model`.")
    source: str = Field(
        "package://demo",
        description="hf://owner/repo, https://host/path/file.gguf, file:///absolute/file.gguf or package://demo.",
    )
    file: str | None = Field(None, description="File within an hf:// repository.")
    revision: str | None = Field(None, description="Commit, tag or branch of an hf:// repository; pin a commit.")
    sha256: Sha256 | None = Field(None, description="Checksum the file must have, 64 hexadecimal digits.")
    context_length: int | None = Field(
        None, ge=16, le=1_048_576, description="Tokens of prompt and answer together; unset: what the file says."
    )
    slots: int = Field(2, ge=1, le=64, description="Requests generated at the same time, each with its own cache.")
    batch_size: int = Field(64, ge=1, le=4096, description="Prompt tokens evaluated before other slots get a turn.")
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads; unset: one for small models, else all cores but one."
    )
    gpu_layers: int | Literal["all"] = Field(0, description="Layers to offload to the GPU, or `all`.")
    mmap: bool = Field(True, description="Map the file, so that slots share one copy of the weights in memory.")
    mlock: bool = Field(False, description="Lock the weights into memory.")
    chat_template: str | None = Field(
        None, max_length=65_536, description="Jinja chat template for a file that carries none, or instead of its own."
    )
    aliases: tuple[ModelId, ...] = Field((), max_length=16, description="Other ids by which clients may ask for it.")
    pooling: Literal["last", "mean"] = Field(
        "last", description="How embeddings are pooled: the last token's, or the mean over all, token by token."
    )
    warm_up: bool = Field(True, description="Evaluate one token before the model counts as ready.")

    def __init__(self, id: str | None = None, /, **fields: Any) -> None:
        super().__init__(**({"id": id} if id is not None else {}), **fields)

    @field_validator("gpu_layers")
    @classmethod
    def _layers(cls, layers: int | str) -> int | str:
        if isinstance(layers, int) and not 0 <= layers <= 1000:
            raise ValueError('write 0 to 1000, or "all"')
        return layers

    @field_validator("source")
    @classmethod
    def _scheme(cls, source: str) -> str:
        if not source.startswith(SOURCE_SCHEMES):
            raise ValueError(f"write one of {', '.join(SOURCE_SCHEMES)} followed by the place")
        return source

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_hub = self.source.startswith("hf://")
        if is_hub and self.source.removeprefix("hf://").count("/") != 1:
            raise ValueError("an hf:// source is hf://owner/repo; put the file's name into `file`")
        if is_hub and not self.file:
            raise ValueError("an hf:// source needs `file`, the name of the .gguf in the repository")
        if not is_hub and (self.file or self.revision):
            raise ValueError("`file` and `revision` belong to hf:// sources only; leave them out")
        if self.file and (self.file.startswith("/") or ".." in PurePosixPath(self.file).parts):
            raise ValueError("`file` is a path within the repository: no leading / and no ..")
        return self


class Endpoint(Declared):
    """The HTTP face: who may call it and how many may wait."""

    api_keys: tuple[str, ...] = Field(
        (),
        description="Accepted keys: `secret:NAME` (a platform secret whose IXMODAL_API_KEYS holds them), "
        "`env:NAME` (an environment variable, comma-separated) or a literal. None: open to all.",
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from; none: CORS is off.")
    max_queued: int = Field(64, ge=0, le=10_000, description="Requests a model that may wait for a slot.")
    unprefixed_routes: bool = Field(False, description="Serve the /v1 routes without /v1 as well.")
    label: Name | None = Field(None, description="First part of the public host name, where a platform has one.")

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _not_blank(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if any(not key.strip() or key in (SECRET_PREFIX, "env:") for key in keys):
            raise ValueError("a key is empty; write the key, env:NAME or secret:NAME")
        return keys

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the platform secrets that hold keys."""
        return tuple(k.removeprefix(SECRET_PREFIX) for k in self.api_keys if k.startswith(SECRET_PREFIX))


class Scaling(Declared):
    """How many replicas run, and how many requests each takes."""

    min_replicas: int = Field(0, ge=0, le=1000, description="Replicas kept warm; 0 costs nothing while idle.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Replicas at most.")
    buffer_replicas: int = Field(0, ge=0, le=1000, description="Idle replicas kept ahead of demand.")
    scaledown_window: int = Field(300, ge=2, le=3600, description="Seconds an idle replica stays.")
    target_concurrency: int | None = Field(
        None, ge=1, le=1000, description="Requests a replica is meant to hold; unset: the slots of all models."
    )
    max_concurrency: int | None = Field(
        None, ge=1, le=11_000, description="Requests a replica accepts; unset: slots plus queue of all models."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas}); "
                f"write max_replicas = {self.min_replicas} or more"
            )
        if self.target_concurrency and self.max_concurrency and self.target_concurrency > self.max_concurrency:
            raise ValueError(
                f"target_concurrency ({self.target_concurrency}) is above max_concurrency ({self.max_concurrency}); "
                f"write max_concurrency = {self.target_concurrency} or more"
            )
        return self


class State(Declared):
    """What is kept between requests: responses and conversations."""

    path: str | None = Field(
        None, description="SQLite file, or `memory`; unset: a file in the user's state directory, shared by processes."
    )
    max_count: int = Field(10_000, ge=1, le=10_000_000, description="Responses, and conversations, kept at most.")
    max_age: float = Field(2_592_000, gt=0, le=315_360_000, description="Seconds since its last use that one is kept.")
    max_background: int = Field(64, ge=0, le=10_000, description="Background responses that may run or wait.")


class Limits(Declared):
    """Bounds of every request and wait."""

    max_body_bytes: int = Field(4_194_304, ge=1024, le=268_435_456, description="Bytes of a request body.")
    max_messages: int = Field(1024, ge=1, le=100_000, description="Messages in a conversation.")
    max_context_messages: int | None = Field(
        None, ge=1, le=100_000, description="Keep the system messages and at most this many others; unset: all."
    )
    max_tokens: int = Field(16_384, ge=1, le=1_048_576, description="Tokens generated for one choice.")
    max_choices: int = Field(8, ge=1, le=128, description="Choices of one request (`n`, or prompts times `n`).")
    body_timeout: float = Field(30, gt=0, le=3600, description="Seconds for a request body to arrive.")
    queue_timeout: float = Field(120, gt=0, le=3600, description="Seconds a request may wait for a slot.")
    request_timeout: float = Field(600, gt=0, le=86_400, description="Seconds a request may take in all.")
    write_timeout: float = Field(60, gt=0, le=3600, description="Seconds a client may stop reading its stream.")
    template_timeout: float = Field(2, gt=0, le=60, description="Seconds a chat template may run.")
    load_timeout: float = Field(300, gt=0, le=7200, description="Seconds for weights to load into memory.")
    download_timeout: float = Field(3600, gt=0, le=86_400, description="Seconds for one model's download.")
    progress_timeout: float = Field(60, gt=0, le=3600, description="Seconds without a step: the engine hangs.")
    drain_timeout: float = Field(30, ge=0, le=3600, description="Seconds running requests get when stopping.")
    max_restarts: int = Field(5, ge=0, le=100, description="Engine deaths in a row before the process gives up.")


class App(Declared):
    """A deployment: models behind one OpenAI-compatible endpoint."""

    name: Name = Field("ixmodal", description="The app's name on a platform.")
    image: Image = Field(Image(), description="The container image.")
    gpu: tuple[str, ...] = Field((), description="GPU types in order of preference; none: CPU only.")
    cpu: float | None = Field(None, gt=0, le=64, description="CPU cores a replica reserves.")
    memory_mib: int | None = Field(None, ge=128, le=1_048_576, description="Memory a replica reserves, MiB.")
    region: tuple[str, ...] = Field((), description="Regions in which replicas may run; none: any.")
    weights: Volume | None = Field(None, description="The volume that holds downloaded weights.")
    models: tuple[Model, ...] = Field(
        (Model("demo", slots=4),),
        min_length=1,
        max_length=64,
        description="The models served; the first is the default.",
    )
    agents: tuple[AgentSpec, ...] = Field((), max_length=64, description="Agents, served beside the models.")
    custom_endpoints: tuple[CustomEndpoint, ...] = Field((), max_length=256, description="Routes with fixed answers.")
    default_model: ModelId | None = Field(
        None, description="The model of requests that name none; unset: such requests are refused."
    )
    endpoint: Endpoint = Field(Endpoint(), description="The HTTP face.")
    scaling: Scaling = Field(Scaling(), description="Replicas and their load.")
    state: State = Field(State(), description="What is kept between requests.")
    limits: Limits = Field(Limits(), description="Bounds of every request and wait.")

    @field_validator("gpu", "region", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        ids = [name for model in self.models for name in (model.id, *model.aliases)]
        if twice := next((i for i in ids if ids.count(i) > 1), None):
            raise ValueError(f'models: two models have the id or alias "{twice}"; give each its own')
        check_agents(self.agents, ids)
        ids += [agent.id for agent in self.agents]
        if self.default_model is not None and self.default_model not in ids:
            raise ValueError(
                f'default_model: no model has the id "{self.default_model}"; write one of {", ".join(ids)}'
            )
        for index, model in enumerate(self.models):
            self._check_place(f"models.{index}", model)
        if self.scaling.target_concurrency and self.target_concurrency > self.max_concurrency:
            raise ValueError(
                f"scaling.target_concurrency ({self.target_concurrency}) is above what slots and queue hold "
                f"({self.max_concurrency}); lower it, or raise models.*.slots or endpoint.max_queued"
            )
        return self

    def _check_place(self, where: str, model: Model) -> None:
        if self.weights and model.source.startswith("file://"):
            path = PurePosixPath(model.source.removeprefix("file://"))
            if not path.is_relative_to(self.weights.mount):
                raise ValueError(
                    f"{where}.source: {path} lies outside the weights volume; "
                    f"write a path below {self.weights.mount}, or leave `weights` out"
                )
        if model.gpu_layers and self.gpu and self.image.accelerator != "cuda":
            raise ValueError(f'{where}.gpu_layers: offload needs image.accelerator = "cuda" (Image.cuda())')

    @property
    def target_concurrency(self) -> int:
        """Requests a replica is meant to hold: as declared, or the slots of all models."""
        return self.scaling.target_concurrency or sum(m.slots for m in self.models)

    @property
    def max_concurrency(self) -> int:
        """Requests a replica accepts: as declared, or slots plus queue of all models."""
        return self.scaling.max_concurrency or sum(m.slots + self.endpoint.max_queued for m in self.models)
