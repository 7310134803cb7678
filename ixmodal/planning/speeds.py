"""How fast one replica is: measured figures, as a file that a plan reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from ixmodal.errors import SpecError
from ixmodal.spec.declared import Declared


class Speeds(Declared):
    """Measured figures of one replica. `ixmodal plan --measure URL --save FILE` makes them."""

    prefill_tokens_per_second: float = Field(gt=0, description="Prompt tokens read a second, by one request alone.")
    decode_step_seconds: tuple[float, ...] = Field(
        min_length=1, max_length=1024, description="Seconds of a decode step with 1, 2, 3, … sequences running."
    )
    overhead_seconds: float = Field(0.0, ge=0, description="What a request costs beside its tokens.")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if any(step <= 0 for step in self.decode_step_seconds):
            raise ValueError("decode_step_seconds: each step takes some time; write numbers above 0")
        return self

    def decode_step(self, sequences: int) -> float:
        """Seconds of a step that gives each of `sequences` one token; beyond what was measured it grows in line."""
        measured = len(self.decode_step_seconds)
        if sequences <= measured:
            return self.decode_step_seconds[sequences - 1] if sequences else 0.0
        return self.decode_step_seconds[-1] * sequences / measured


def read_speeds(path: Path) -> Speeds:
    """Figures of a JSON file. Raises `SpecError` that names each wrong field."""
    try:
        return Speeds.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SpecError(str(path), problems) from None
    except (OSError, ValueError) as error:
        raise SpecError(str(path), [f"can't be read: {error}"]) from None
