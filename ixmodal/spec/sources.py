"""Where a spec comes from: Python, TOML, JSON or `IXMODAL_*` environment variables, one meaning in all.

`IXMODAL_SPEC` is a path to a .toml or .json file, JSON text, `module:attribute` of a Python spec, or the path of a .py
file whose `spec` it is (`FILE.py:NAME` for another name). Any other
`IXMODAL_<FIELD>` overrides one field on top of it; `__` descends (`IXMODAL_ENDPOINT__MAX_QUEUED=16`) and lists
and objects are written as JSON.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ixmodal.errors import SpecError
from ixmodal.spec import App
from ixmodal.spec.upstream import UPSTREAM_KEY_VARIABLE

SPEC_VARIABLE = "IXMODAL_SPEC"
KEYS_VARIABLE = "IXMODAL_API_KEYS"
WEIGHTS_VARIABLE = "IXMODAL_WEIGHTS_DIR"
LOG_FORMAT_VARIABLE = "IXMODAL_LOG_FORMAT"
_PREFIX = "IXMODAL_"
_USUAL_ATTRIBUTE = "spec"
"""What a Python file calls its spec, unless FILE.py:NAME says otherwise."""
_RESERVED = (SPEC_VARIABLE, KEYS_VARIABLE, WEIGHTS_VARIABLE, LOG_FORMAT_VARIABLE)
_MAX_SPEC_BYTES = 1_048_576


def load_spec(source: str | None = None, environ: Mapping[str, str] | None = None) -> App:
    """Read a spec and apply the environment's overrides.

    Args:
        source: path, JSON text, `module:attribute` or `FILE.py`; unset: `IXMODAL_SPEC`, without that the shipped model.
        environ: the environment; unset: this process's.

    Raises:
        SpecError: unreadable, unknown keys, wrong values or impossible combinations, each with its field's path.
    """
    environ = os.environ if environ is None else environ
    source = source or environ.get(SPEC_VARIABLE) or None
    name, data = ("the default spec", {}) if source is None else _read(source)
    overrides = _overrides(environ)
    return parse_spec(_merge(data, overrides), f"{name} with IXMODAL_* variables" if overrides else name)


def parse_spec(data: Mapping[str, Any], name: str = "the spec") -> App:
    """Validate plain data as an `App`. Raises `SpecError` that names `name` and every wrong field."""
    try:
        return App.model_validate(data)
    except ValidationError as error:
        raise SpecError(name, _problems(error)) from None


def _read(source: str) -> tuple[str, dict[str, Any]]:
    if source.lstrip().startswith("{"):
        return "IXMODAL_SPEC", _decode("IXMODAL_SPEC", source, json.loads)
    path = Path(source).expanduser()
    if path.suffix in (".toml", ".json"):
        try:
            if path.stat().st_size > _MAX_SPEC_BYTES:
                raise SpecError(source, [f"the file is over {_MAX_SPEC_BYTES} bytes; is it a spec?"])
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SpecError(source, [f"can't be read: {reason}; give the path of a .toml or .json file"]) from None
        _look_beside(path)
        return source, _decode(source, text, tomllib.loads if path.suffix == ".toml" else json.loads)
    return source, _import(source).model_dump(mode="python", exclude_unset=True)


def _look_beside(path: Path) -> None:
    """Let the Python modules beside a spec be found, such as those of its agents' tools; they shadow nothing."""
    directory = str(path.absolute().parent)
    if directory not in sys.path:
        sys.path.append(directory)


def _decode(name: str, text: str, loads: Any) -> dict[str, Any]:
    try:
        data = loads(text)
    except ValueError as error:
        raise SpecError(name, [f"can't be parsed: {error}"]) from None
    if not isinstance(data, dict):
        raise SpecError(name, ["the top level must be a table of fields"])
    return data


def _import(source: str) -> App:
    name, _, attribute = source.rpartition(":") if not source.endswith(".py") else (source, ":", _USUAL_ATTRIBUTE)
    if not name:
        raise SpecError(source, ["write a path ending in .toml, .json or .py, JSON text, or module:attribute"])
    try:
        module = _import_file(Path(name).expanduser()) if name.endswith(".py") else importlib.import_module(name)
        found = getattr(module, attribute)
    except ValidationError as error:
        raise SpecError(source, _problems(error)) from None
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise SpecError(source, [f"can't be imported: {error}"]) from None
    if not isinstance(found, App):
        raise SpecError(source, [f"is a {type(found).__name__}, not an ixmodal.App"])
    return found


def _import_file(path: Path) -> ModuleType:
    _look_beside(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # as for any import: classes and functions are looked up there
    spec.loader.exec_module(module)
    return module


def _overrides(environ: Mapping[str, str]) -> dict[str, Any]:
    names = [n for n in environ if n.upper().startswith(_PREFIX) and not _is_reserved(n.upper())]
    if not names:
        return {}
    unknown = [n for n in names if n.upper().removeprefix(_PREFIX).split("__")[0].lower() not in App.model_fields]
    if unknown:
        fields = [_PREFIX + f.upper() for f in App.model_fields]
        raise SpecError("the environment", [f"{n}: no such field{_closest(n.upper(), fields)}" for n in unknown])
    return _read_environment(environ)


def _is_reserved(name: str) -> bool:
    # Keys of upstreams: several may be needed, so whatever follows the variable's name is one of them too.
    return name in _RESERVED or name.startswith(UPSTREAM_KEY_VARIABLE)


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    # Imported here: it costs a fifth of a second that a start without overrides need not pay.
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

    class Overrides(App, BaseSettings):
        model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter="__")

    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in environ.items()}

    try:
        return dict(Source(Overrides)())
    except SettingsError as error:
        raise SpecError("the environment", [f"{error}: write the value as JSON"]) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _problems(error: ValidationError) -> list[str]:
    # A list whose entries are wrong is also reported as too short: only an empty one is.
    items = error.errors(include_url=False)
    return [_problem(item) for item in items if item["type"] != "too_short" or not item["input"]]


def _problem(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        fields = _fields_at(item["loc"][:-1])
        return f"{path}: no such field{_closest(str(item['loc'][-1]), fields)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("value_error", "missing"):
        return f"{path}: {message}" if path else message
    shown = "" if _may_be_secret(item["loc"]) else f", but it is {item['input']!r:.80}"
    return f"{path}: {message}{shown}"


def _may_be_secret(location: tuple[Any, ...]) -> bool:
    """Whether what stands there, or below, may be a key or a password, which no message repeats."""
    secrets = (("endpoint", "api_keys"), ("endpoint", "keys"), ("state", "url"))
    return any(location[: len(place)] == place[: len(location)] for place in secrets)


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = App
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type)]
            model = next((a for a in inner if issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def _closest(name: str, fields: list[str]) -> str:
    near = difflib.get_close_matches(name, fields, 1)
    return f"; did you mean {near[0]}?" if near else f"; the fields are {', '.join(fields)}"
