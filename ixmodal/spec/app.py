"""The whole declaration, and the checks that need more than one of its parts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from ixmodal.spec.agents import AgentSpec, check_agents
from ixmodal.spec.custom_endpoints import CustomEndpoint
from ixmodal.spec.declared import Declared, ModelId, Name
from ixmodal.spec.endpoint import Endpoint
from ixmodal.spec.image import Image, Volume
from ixmodal.spec.limits import Limits
from ixmodal.spec.modal import Modal
from ixmodal.spec.model import Model
from ixmodal.spec.scaling import Scaling
from ixmodal.spec.state import State
from ixmodal.spec.upstream import check_overflows


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
    modal: Modal = Field(Modal(), description="What only Modal has.")
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
        check_overflows(self.models)
        check_agents(self.agents, ids)
        ids += [agent.id for agent in self.agents]
        if self.default_model is not None and self.default_model not in ids:
            raise ValueError(
                f'default_model: no model has the id "{self.default_model}"; write one of {", ".join(ids)}'
            )
        for index, key in enumerate(self.endpoint.keys):
            if unknown := next((name for name in key.models if name not in ids), None):
                raise ValueError(
                    f'endpoint.keys.{index}.models: no model has the id "{unknown}"; there are {", ".join(ids)}'
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
    def local_models(self) -> tuple[Model, ...]:
        """The models whose weights are loaded here: all but those with an upstream."""
        return tuple(model for model in self.models if model.upstream is None)

    @property
    def target_concurrency(self) -> int:
        """Requests a replica is meant to hold: as declared, or the slots of all models; without any, connections."""
        slots = sum(model.slots for model in self.local_models)
        return self.scaling.target_concurrency or slots or self._connections

    @property
    def max_concurrency(self) -> int:
        """Requests a replica accepts: as declared, or slots or connections, plus queue, of all models."""
        slots = sum(model.slots for model in self.local_models)
        queues = self.endpoint.max_queued * len(self.models)
        return self.scaling.max_concurrency or slots + self._connections + queues

    @property
    def _connections(self) -> int:
        return sum(model.upstream.max_connections for model in self.models if model.upstream)
