"""How fast one replica is: measured figures, as a file that a plan reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from ixmodal.errors import SpecError
from ixmodal.spec.declared import Declared

_BATCHING = 0.9
"""A step of n sequences that takes less than this share of n steps of one is taken for one forward of them all."""


class Speeds(Declared):
    """Measured figures of one replica. `ixmodal plan --measure URL --save FILE` makes them."""

    prefill_tokens_per_second: float = Field(gt=0, description="Prompt tokens read a second, by one request alone.")
    prefill_forward_seconds: float = Field(0.0, ge=0, description="What each forward of a prompt costs besides.")
    decode_step_seconds: tuple[float, ...] = Field(
        min_length=1, max_length=1024, description="Seconds in which each of 1, 2, 3, … sequences gets a token."
    )
    context_token_seconds: float = Field(
        0.0, ge=0, description="What each token in a sequence's cache adds to each of its decode steps."
    )
    batches: bool | None = Field(
        None, description="Whether one forward takes several sequences; unset: told from decode_step_seconds."
    )
    mixed_prefill_tokens_per_second: float | None = Field(
        None, gt=0, description="Prompt tokens read a second in a forward that decodes as well; unset: as alone."
    )
    overhead_seconds: float = Field(0.0, ge=0, description="What a request takes on its way to the engine and back.")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if any(step <= 0 for step in self.decode_step_seconds):
            raise ValueError("decode_step_seconds: each step takes some time; write numbers above 0")
        return self

    @property
    def is_batching(self) -> bool:
        """Whether one forward takes several sequences."""
        if self.batches is not None:
            return self.batches
        one, count = self.decode_step_seconds[0], len(self.decode_step_seconds)
        return self.decode_step_seconds[-1] < _BATCHING * count * one and count > 1

    def decode_step(self, sequences: int) -> float:
        """Seconds of a step that gives each of `sequences` one token; beyond what was measured it grows in line."""
        measured = len(self.decode_step_seconds)
        if sequences <= measured:
            return self.decode_step_seconds[sequences - 1] if sequences else 0.0
        return self.decode_step_seconds[-1] * sequences / measured

    def at_context(self, tokens: float) -> Speeds:
        """The same, with decode steps as they are when each sequence holds `tokens`."""
        more = self.context_token_seconds * tokens
        steps = tuple(step + more * count for count, step in enumerate(self.decode_step_seconds, 1))
        return self.model_copy(
            update={"decode_step_seconds": steps, "context_token_seconds": 0.0, "batches": self.is_batching}
        )

    def forward(self, decoding: int, prompt_tokens: int) -> float:
        """Seconds of one forward of a token for each of `decoding` sequences together with `prompt_tokens`."""
        if not prompt_tokens:
            return self.decode_step(decoding)
        if not decoding:
            return self.prefill_forward_seconds + prompt_tokens / self.prefill_tokens_per_second
        rate = self.mixed_prefill_tokens_per_second or self.prefill_tokens_per_second
        return self.decode_step(decoding) + prompt_tokens / rate


def read_speeds(path: Path) -> Speeds:
    """Figures of a JSON file. Raises `SpecError` that names each wrong field."""
    try:
        return Speeds.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SpecError(str(path), problems) from None
    except (OSError, ValueError) as error:
        raise SpecError(str(path), [f"can't be read: {error}"]) from None
