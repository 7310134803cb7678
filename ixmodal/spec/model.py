"""The declaration of a model: where its weights come from and how it is loaded, or who else answers for it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ixmodal.spec.declared import Declared, ModelId, Sha256
from ixmodal.spec.upstream import Upstream, check_alone

SPLIT_NAME = re.compile(r"-(\d{5})-of-(?!0000[01]\.)(\d{5})(\.gguf)$", re.IGNORECASE)
"""How a file ends that is one part of several: its number, and theirs in all."""
SOURCE_SCHEMES = ("hf://", "https://", "file://", "package://")


class Model(Declared):
    """One language model: where its weights come from and how it is loaded, or the server that has it."""

    id: ModelId = Field(description="The id that clients send as `model`.")
    source: str = Field(
        "package://demo",
        description="hf://owner/repo, https://host/path/file.gguf, file:///absolute/file.gguf or package://demo.",
    )
    file: str | None = Field(None, description="File within an hf:// repository.")
    revision: str | None = Field(None, description="Commit, tag or branch of an hf:// repository; pin a commit.")
    sha256: Sha256 | None = Field(None, description="Checksum the file must have, 64 hexadecimal digits.")
    part_sha256: tuple[Sha256, ...] = Field(
        (), max_length=1000, description="Checksums of a split model's parts (name-00001-of-00003.gguf), in order."
    )
    context_length: int | None = Field(
        None, ge=16, le=1_048_576, description="Tokens of prompt and answer together; unset: what the file says."
    )
    slots: int = Field(2, ge=1, le=64, description="Requests generated at the same time, each with its own cache.")
    batch_size: int = Field(64, ge=1, le=4096, description="Prompt tokens evaluated before other slots get a turn.")
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads; unset: one for small models, else all free cores but one."
    )
    gpu_layers: int | Literal["all"] = Field(0, description="Layers to offload to the GPU, or `all`.")
    mmap: bool = Field(True, description="Map the file, so that slots share one copy of the weights in memory.")
    mlock: bool = Field(False, description="Lock the weights into memory.")
    engine: Literal["auto", "ctransformers", "llama_cpp"] = Field(
        "auto", description="The library that runs it; auto: ctransformers where it can, else llama_cpp."
    )
    flash_attention: bool | None = Field(
        None, description="Flash attention; unset: on GPUs, and with caches that are not f16. Needs engine = llama_cpp."
    )
    cache_type: Literal["f16", "bf16", "q8_0", "q4_0"] | None = Field(
        None,
        description="Type of keys and values in the cache; unset: bf16 where contexts are short and the CPU computes "
        "with it, else f16. Others than f16 need engine = llama_cpp.",
    )
    memory_cache_mib: int | None = Field(
        None,
        ge=0,
        le=1_048_576,
        description="MiB of memory for conversations that lost their slot to another; unset: as much as the slots' own "
        "cache, 256 at most; 0: none.",
    )
    disk_cache_mib: int = Field(
        0,
        ge=0,
        le=16_777_216,
        description="MiB on disk, in the user's state directory, for the same, which then outlive unloading and "
        "restarts; 0: none. They hold what users wrote.",
    )
    speculation: Literal["off", "prompt_lookup"] = Field(
        "off",
        description="Draft tokens from what the prompt and the answer say already, and check them in one forward.",
    )
    draft_tokens: int = Field(3, ge=1, le=16, description="Tokens drafted at a time, with speculation.")
    chat_template: str | None = Field(
        None, max_length=65_536, description="Jinja chat template for a file that carries none, or instead of its own."
    )
    aliases: tuple[ModelId, ...] = Field((), max_length=16, description="Other ids by which clients may ask for it.")
    pooling: Literal["last", "mean"] = Field(
        "last",
        description="How embeddings are pooled: the last token's, or the mean over all (slower with ctransformers).",
    )
    warm_up: bool = Field(True, description="Evaluate one token before the model counts as ready.")
    load: Literal["start", "request"] = Field(
        "start", description="When it is loaded: at the server's start, or for the first request that asks for it."
    )
    pinned: bool = Field(False, description="Once loaded on request, never unloaded to make room or for being idle.")
    idle_timeout: float | None = Field(
        None,
        gt=0,
        le=604_800,
        description="Seconds without a request until it is unloaded; needs load = request.",
    )
    upstream: Upstream | None = Field(
        None, description="Another OpenAI-compatible server that answers for this model; its URL, or a table."
    )
    overflow_to: ModelId | None = Field(
        None, description="The model with an upstream that takes requests while this one is full or not loaded."
    )

    def __init__(self, id: str | None = None, /, **fields: Any) -> None:
        super().__init__(**({"id": id} if id is not None else {}), **fields)

    @field_validator("upstream", mode="before")
    @classmethod
    def _url_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

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
        check_alone(self)
        self._check_engine()
        self._check_speculation()
        if self.load == "start" and (self.pinned or self.idle_timeout):
            name = "pinned" if self.pinned else "idle_timeout"
            raise ValueError(f'`{name}` belongs to models with load = "request"; those loaded at start stay')
        if self.pinned and self.idle_timeout:
            raise ValueError("`pinned` and `idle_timeout` exclude each other; leave one out")
        is_hub = self.source.startswith("hf://")
        if is_hub and self.source.removeprefix("hf://").count("/") != 1:
            raise ValueError("an hf:// source is hf://owner/repo; put the file's name into `file`")
        if is_hub and not self.file:
            raise ValueError("an hf:// source needs `file`, the name of the .gguf in the repository")
        if not is_hub and (self.file or self.revision):
            raise ValueError("`file` and `revision` belong to hf:// sources only; leave them out")
        if self.file and (self.file.startswith("/") or ".." in PurePosixPath(self.file).parts):
            raise ValueError("`file` is a path within the repository: no leading / and no ..")
        self._check_sums()
        return self

    def _check_speculation(self) -> None:
        if self.speculation == "off" and self.draft_tokens != type(self).model_fields["draft_tokens"].default:
            raise ValueError('`draft_tokens` needs speculation = "prompt_lookup"')
        if self.speculation != "off" and self.batch_size <= self.draft_tokens:
            raise ValueError(f"a batch of {self.batch_size} holds no token and {self.draft_tokens} drafted ones")

    def _check_engine(self) -> None:
        if self.disk_cache_mib and self.memory_cache_mib == 0:
            raise ValueError(
                "`disk_cache_mib` is filled from memory; give `memory_cache_mib` more than 0, or leave it out"
            )
        if self.engine != "llama_cpp" and (self.flash_attention is not None or self.cache_type not in (None, "f16")):
            name = "cache_type" if self.flash_attention is None else "flash_attention"
            raise ValueError(f'`{name}` is llama.cpp\'s alone; set engine = "llama_cpp" as well, or leave it out')
        if self.flash_attention is False and self.cache_type in ("q8_0", "q4_0"):
            raise ValueError(f'cache_type = "{self.cache_type}" needs flash attention; leave `flash_attention` out')

    def _check_sums(self) -> None:
        split = self.split
        if split and self.sha256:
            raise ValueError("`sha256` is the sum of one file, but the source is a split model; write `part_sha256`")
        if self.part_sha256 and len(self.part_sha256) != (split[1] if split else 0):
            said = f"{split[1]} parts" if split else "that it is no split model (-00001-of-00003.gguf)"
            raise ValueError(f"`part_sha256` holds {len(self.part_sha256)} sums, but the name says {said}")

    @property
    def split(self) -> tuple[int, int] | None:
        """Which part the source names and how many there are; None for a model in one file."""
        try:
            match = SPLIT_NAME.search(self.file or urlsplit(self.source).path)
        except ValueError:  # no valid URL, which is told where it is fetched
            return None
        return (int(match[1]), int(match[2])) if match else None
