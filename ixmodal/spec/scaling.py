"""The declaration of replicas and their load."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ixmodal.spec.declared import Declared


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
