"""Files that hold API keys: one key or digest a line, or a .toml or .json file of `keys`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ixmodal.spec.keys import DIGEST_PREFIX, ApiKey, as_source

_MAX_BYTES = 1_048_576


class KeyFileError(Exception):
    """A file of keys can't be used; says why, without what it holds."""


class KeyFile:
    """One file and what it looked like when it was last read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None

    def has_changed(self) -> bool:
        """Whether it is another than the one last read; a missing file is another, once."""
        return self._look() != self._seen

    def read(self, *, plain: bool = False) -> list[ApiKey]:
        """Its entries, at least one.

        Args:
            plain: the keys belong to an entry that has a name already: only one a line will do.

        Raises:
            KeyFileError: it can't be read, is too large, is malformed, or holds no key.
        """
        self._seen = self._look()
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
            text = content.decode()
        except OSError as error:
            raise KeyFileError(f"can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise KeyFileError("it is not UTF-8 text") from None
        if len(content) > _MAX_BYTES:
            raise KeyFileError(f"it is over {_MAX_BYTES} bytes; is it a file of keys?")
        is_table = self.path.suffix in (".toml", ".json")
        if plain and is_table:
            raise KeyFileError("a named key's file holds one key a line; list a .toml or .json file in api_keys")
        found = _tables(text, self.path.suffix) if is_table else _lines(text)
        if not found:
            raise KeyFileError("it holds no key")
        return found

    def _look(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def nameless(digest: str) -> ApiKey:
    """A key that was declared without a name: it is named by its digest's first digits, limits and rights are usual."""
    return ApiKey(name=f"key-{digest.removeprefix(DIGEST_PREFIX)[:8]}", key=digest)


def _lines(text: str) -> list[ApiKey]:
    lines = [line.strip() for line in text.splitlines()]
    return [nameless(_digest(line, f"line {at}")) for at, line in enumerate(lines, 1) if line and line[0] != "#"]


def _tables(text: str, suffix: str) -> list[ApiKey]:
    try:
        data: Any = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError):
        raise KeyFileError(f"it is not valid {suffix[1:].upper()}") from None
    entries = data.get("keys") if isinstance(data, dict) and set(data) == {"keys"} else None
    if not isinstance(entries, list):
        raise KeyFileError("its only field is `keys`, a list of tables with name and key")
    return [_entry(entry, f"keys.{index}") for index, entry in enumerate(entries)]


def _entry(fields: Any, where: str) -> ApiKey:
    if isinstance(fields, dict) and isinstance(fields.get("key"), str):
        fields = {**fields, "key": _digest(fields["key"], where)}
    try:
        return ApiKey.model_validate(fields)
    except ValidationError as error:
        item = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in (where, *item["loc"]))
        raise KeyFileError(f"{path}: {item['msg'].removeprefix('Value error, ')}") from None


def _digest(key: str, where: str) -> str:
    try:
        source = as_source(key)
    except ValueError as error:
        raise KeyFileError(f"{where}: {error}") from None
    if not source.startswith(DIGEST_PREFIX):
        raise KeyFileError(f"{where}: a file holds keys or digests, no references to other places")
    return source
