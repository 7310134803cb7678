"""Where a model's file is, or will be, by its source alone. Nothing a spec says leads out of the directory."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.spec import Model
from ixmodal.spec.model import SPLIT_NAME


def shown(model: Model) -> str:
    """The source as people may see it: no user, no password, no query, in which signatures travel."""
    return f"{model.source}/{model.file}" if model.file else shown_url(model.source)


def shown_url(url: str) -> str:
    """A URL without user, password, query and fragment."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def parts_of(model: Model) -> tuple[Model, ...]:
    """The parts of a split model as models of their own, in order; none for a model in one file.

    Raises:
        UnsupportedModelError: the source names another part than the first, or parts on this machine.
    """
    if model.split is None:
        return ()
    number, count = model.split
    if number != 1:
        raise UnsupportedModelError(f"{shown(model)} is part {number} of a split model; name the first of its {count}")
    if model.source.startswith("file://"):
        raise UnsupportedModelError(
            f"{shown(model)} is one part of a split model, which the engine can't load; merge the parts with "
            "`llama-gguf-split --merge` and name the merged file"
        )
    sums = model.part_sha256 or (None,) * count
    return tuple(_part(model, number, sums[number - 1]) for number in range(1, count + 1))


def _part(model: Model, number: int, sha256: str | None) -> Model:
    def named(name: str) -> str:
        return SPLIT_NAME.sub(lambda found: f"-{number:05}-of-{found[2]}{found[3]}", name)

    changes: dict[str, str | None] = {"sha256": sha256}
    if model.file:
        changes["file"] = named(model.file)
    else:
        url = urlsplit(model.source)
        changes["source"] = urlunsplit(url._replace(path=named(url.path)))
    return model.model_copy(update={**changes, "part_sha256": ()})


def merged_path(target: Path) -> Path:
    """Where the merged file of a split model belongs, by the place of its first part."""
    return target.with_name(SPLIT_NAME.sub(r"-of-\2\3", target.name))


def local_path(model: Model) -> Path | None:
    """The file of a `package://` or `file://` source; None for what has to be downloaded.

    Raises:
        WeightsError: there is no such file.
    """
    if model.source.startswith("package://"):
        return _packaged(model.source)
    if not model.source.startswith("file://"):
        return None
    path = Path(unquote(model.source.removeprefix("file://")))
    if not path.is_absolute():
        raise WeightsError(f"{model.source} is no absolute path; write file:///directory/file.gguf")
    try:
        problem = None if path.is_file() else "is not a file" if path.exists() else "does not exist"
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
    if problem:
        raise WeightsError(f"{path} {problem}; correct the source of the model {model.id}")
    return path


def _packaged(source: str) -> Path:
    room = Path(str(files("ixmodal.models")))
    shipped = {path.parent.name: path for path in room.glob("*/*.gguf") if path.stem == path.parent.name}
    if path := shipped.get(source.removeprefix("package://")):
        return path
    names = ", ".join(f"package://{name}" for name in sorted(shipped)) or "no model"
    raise WeightsError(f"{source} does not exist; the package holds {names}")


def target_path(model: Model, directory: Path) -> Path:
    """Where the file of an `hf://` or `https://` source belongs below `directory`.

    Raises:
        WeightsError: a source that names no file, or one outside the directory.
    """
    if model.source.startswith("hf://"):
        revision = quote(model.revision or "main", safe="")
        return _below(
            directory, model, "hf", *model.source.removeprefix("hf://").split("/"), revision, model.file or ""
        )
    try:
        url = urlsplit(model.source)
        host = url.hostname or ""
    except ValueError:
        raise WeightsError(f"the source of the model {model.id} is no valid URL; correct it") from None
    basename = unquote(url.path).rpartition("/")[2]
    key = hashlib.sha256(model.source.encode()).hexdigest()[:12]
    return _below(directory, model, "https", _plain(host), key, _plain(basename))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _below(directory: Path, model: Model, *parts: str) -> Path:
    names = "/".join(parts).split("/")
    if any(name in ("", ".", "..") or "\\" in name or "\0" in name for name in names):
        raise WeightsError(f"{shown(model)} names no file that can be kept; correct the source of the model {model.id}")
    return directory.joinpath(*names)
