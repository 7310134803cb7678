"""The declaration of what a replica runs in: its container image and its volume."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from ixmodal.spec.declared import Declared, Name

CudaArchitecture = Annotated[str, StringConstraints(pattern=r"^[5-9][0-9]$|^1[0-9]{2}$")]
"""A compute capability without its point: 89 is 8.9."""


class Image(Declared):
    """The container image in which the package runs."""

    python: str = Field("3.11", pattern=r"^3\.(1[1-9])$", description="Python version, 3.11 or newer.")
    accelerator: Literal["cpu", "cuda"] = Field(
        "cpu", description="`cuda` installs the runtime libraries that GPU offload needs."
    )
    build: Literal["wheel", "source"] = Field(
        "wheel",
        description="`source` compiles the native library with CUDA, for cards newer than the wheel's kernels.",
    )
    cuda_architectures: tuple[CudaArchitecture, ...] = Field(
        (), description="Compute capabilities to compile for, without the point; unset: those of the declared GPUs."
    )
    base: str | None = Field(None, description="Registry tag of a base image; unset means slim Debian.")
    system_packages: tuple[str, ...] = Field((), description="Debian packages to install.")
    packages: tuple[str, ...] = Field((), description="Python requirements beyond the package's own.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables, no secrets.")

    @model_validator(mode="after")
    def _source_is_for_cuda(self) -> Self:
        if self.build == "source" and self.accelerator != "cuda":
            raise ValueError('build = "source" is for accelerator = "cuda" (Image.cuda(build="source"))')
        if self.cuda_architectures and self.build != "source":
            raise ValueError('cuda_architectures needs build = "source"; a wheel is compiled already')
        return self

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
