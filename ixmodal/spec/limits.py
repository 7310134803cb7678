"""The declaration of the bounds of every request and wait."""

from __future__ import annotations

from pydantic import Field

from ixmodal.spec.declared import Declared


class Limits(Declared):
    """Bounds of every request and wait."""

    max_body_bytes: int = Field(4_194_304, ge=1024, le=268_435_456, description="Bytes of a request body.")
    max_messages: int = Field(1024, ge=1, le=100_000, description="Messages in a conversation.")
    max_context_messages: int | None = Field(
        None, ge=1, le=100_000, description="Keep the system messages and at most this many others; unset: all."
    )
    max_tokens: int = Field(16_384, ge=1, le=1_048_576, description="Tokens generated for one choice.")
    max_choices: int = Field(8, ge=1, le=128, description="Choices for one prompt or conversation (`n`, `best_of`).")
    max_prompts: int = Field(256, ge=1, le=2048, description="Prompts in the list of one text completion.")
    max_header_bytes: int = Field(
        65_536, ge=1024, le=1_048_576, description="Bytes of a request's line and headers; 100 headers at most."
    )
    header_timeout: float = Field(10, gt=0, le=3600, description="Seconds for a request's line and headers to arrive.")
    body_timeout: float = Field(30, gt=0, le=3600, description="Seconds for a request body to arrive.")
    queue_timeout: float = Field(120, gt=0, le=3600, description="Seconds a request may wait for a slot.")
    head_timeout: float = Field(
        130, gt=0, le=3600, description="Seconds a stream may wait before its status is sent; then it waits behind it."
    )
    request_timeout: float = Field(600, gt=0, le=86_400, description="Seconds a request may take in all.")
    write_timeout: float = Field(60, gt=0, le=3600, description="Seconds a client may stop reading its stream.")
    template_timeout: float = Field(2, gt=0, le=60, description="Seconds a chat template may run.")
    load_timeout: float = Field(300, gt=0, le=7200, description="Seconds for weights to load into memory.")
    load_cooldown: float = Field(30, ge=0, le=3600, description="Seconds after a failed load before it is tried again.")
    model_memory_mib: int | None = Field(
        None, ge=1, le=16_777_216, description="MiB of memory that all models may take together; unset: what is free."
    )
    download_timeout: float = Field(3600, gt=0, le=86_400, description="Seconds for one model's download.")
    upstream_connect_timeout: float = Field(10, gt=0, le=600, description="Seconds to reach an upstream.")
    upstream_read_timeout: float = Field(
        300, gt=0, le=86_400, description="Seconds an upstream may send nothing, its start included."
    )
    max_answer_bytes: int = Field(
        67_108_864, ge=1024, le=1_073_741_824, description="Bytes of an upstream's answer that is not streamed."
    )
    progress_timeout: float = Field(60, gt=0, le=3600, description="Seconds without a step: the engine hangs.")
    drain_timeout: float = Field(30, ge=0, le=3600, description="Seconds running requests get when stopping.")
    max_restarts: int = Field(5, ge=0, le=100, description="Engine deaths in a row before the process gives up.")
