"""A spec as a container image: its Dockerfile, and what the build may read."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ixmodal import __version__
from ixmodal.deploy.documents import RENDERED
from ixmodal.deploy.requirements import (
    CUDA_DEVEL,
    CUDA_LIBRARIES,
    NATIVE,
    cuda_architectures,
    native_requirements,
    state_requirements,
)
from ixmodal.deploy.target import HOME, PORT, USER, startup_seconds
from ixmodal.errors import SpecError
from ixmodal.spec import App

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SOURCES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "ixmodal")
_NOT_SENT = ("**/__pycache__", "**/*.pyc")


def image_name(spec: App) -> str:
    """The tag that the image is built and run under."""
    return f"{spec.name}:{__version__}"


def target_of(spec: App) -> str:
    """The stage of the Dockerfile to build."""
    return spec.image.accelerator


def dockerfile(spec: App, context: Path, path: str) -> str:
    """The Dockerfile.

    Args:
        spec: the deployment.
        context: the directory that is sent to the build: a checkout of ixmodal, with the agents' tools beside it.
        path: where the Dockerfile will lie, seen from there.

    Raises:
        SpecError: values that no Dockerfile can hold.
    """
    _check(spec)
    python = f"python{spec.image.python}"
    default = f"python:{spec.image.python}-slim-bookworm"
    base = spec.image.base or (CUDA_DEVEL if spec.image.build == "source" else None)
    # Such a base brings no Python, or one that can't be told from here: the distribution's goes in beside it.
    own = [python, f"{python}-venv"] if base else []
    template = Environment(  # noqa: S701  # no HTML; what goes into it is checked or quoted
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string((files("ixmodal.deploy") / "templates" / "Dockerfile").read_text("utf-8"))
    return template.render(
        dockerfile=path,
        target=target_of(spec),
        image=image_name(spec),
        title=spec.name,
        description="Models served by ixmodal: " + ", ".join(model.id for model in spec.models),
        version=__version__,
        base=base or default,
        python=python,
        system_packages=["ca-certificates", "tini", *own, *map(shlex.quote, spec.image.system_packages)],
        packages=[shlex.quote(package) for package in (*state_requirements(spec), *spec.image.packages)],
        cuda=_cuda_command(spec),
        env={name: _quoted(value) for name, value in spec.image.env.items()},
        modules=modules(spec, context),
        writable=[HOME, *([spec.weights.mount] if spec.weights else [])],
        home=HOME,
        user=USER,
        port=PORT,
        startup=startup_seconds(spec),
    )


def dockerignore(spec: App, context: Path) -> str:
    """What the build may read: all else, secrets among it, never leaves the machine."""
    return (
        RENDERED + "\n".join(["*", *(f"!{name}" for name in (*_SOURCES, *modules(spec, context))), *_NOT_SENT]) + "\n"
    )


def modules(spec: App, context: Path) -> list[str]:
    """The files and folders beside the spec that hold its agents' tools.

    Raises:
        SpecError: tools that neither lie there nor can come from `image.packages`.
    """
    found = {}
    for index, agent in enumerate(spec.agents):
        for tool in agent.tools:
            top = re.split(r"[.:]", tool, maxsplit=1)[0]
            places = [name for name in (f"{top}.py", top) if (context / name).exists()]
            if not places and not spec.image.packages:
                problem = (
                    f"agents.{index}.tools: {tool}: there is no {top}.py or {top}/ in {context} to put into the image"
                )
                raise SpecError("the spec", [f"{problem}; render where it lies, or name its package in image.packages"])
            found.update(dict.fromkeys(places[:1]))
    return [name for name in found if name != "ixmodal"]


def _cuda_command(spec: App) -> str:
    """What pip is told, and the variables ahead of it, for the native library with CUDA."""
    if spec.image.build == "source":
        cards = ";".join(cuda_architectures(spec))
        (library,) = native_requirements(spec)
        told = f"pip install --force-reinstall --no-deps --no-binary {NATIVE} {library}"
        return f"CT_CUBLAS=1 CMAKE_ARGS='-DCMAKE_CUDA_ARCHITECTURES={cards}' /opt/venv/bin/{told}"
    return f"/opt/venv/bin/pip install {' '.join(shlex.quote(one) for one in (f'{NATIVE}[cuda]', *CUDA_LIBRARIES))}"


def _check(spec: App) -> None:
    image = spec.image
    texts = {
        "image.base": [image.base or ""],
        "image.system_packages": image.system_packages,
        "image.packages": image.packages,
        "image.env": [text for item in image.env.items() for text in item],
        "weights.mount": [spec.weights.mount] if spec.weights else [],
    }
    problems = [
        f"{where}: a Dockerfile can't hold {text!r:.60}"
        for where, all in texts.items()
        for text in all
        if not text.isprintable()
    ]
    problems += [
        f"image.env: {name!r:.60} is no name of a variable" for name in image.env if not _VARIABLE.fullmatch(name)
    ]
    for where in ("image.base", "weights.mount"):
        problems += [
            f"{where}: write it without spaces and quotes" for text in texts[where] if re.search(r"[\s\"'\\$]", text)
        ]
    if problems:
        raise SpecError("the spec", problems)


def _quoted(value: str) -> str:
    """A value for ENV, in which the builder replaces nothing."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
