"""One saved state as a file: a header, the tokens, the library's bytes, and a digest over all of it.

Native code trusts these bytes, so nothing of a file reaches it before the digest is found to be right.
"""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from pathlib import Path

from ixmodal.engine.saved_states import SavedState
from ixmodal.engine.slots import Tokens

SUFFIX = ".state"
TEMPORARY = ".part"
_MAGIC = b"IXSTATE1"
_DIGEST = 32
_HEAD = struct.Struct("<8s32s32sQQ")
"""Magic, digest of all that follows it, fingerprint, number of tokens, bytes of the state."""
_BLOCK = 1 << 20


def name_of(fingerprint: bytes, tokens: Tokens) -> str:
    """The name of the file for these tokens: the same tokens come to the same file."""
    return hashlib.blake2b(fingerprint + tokens.tobytes(), digest_size=16).hexdigest() + SUFFIX


def write(path: Path, fingerprint: bytes, saved: SavedState) -> None:
    """Write a file as a whole: whoever looks finds the old one or the new one. Raises `OSError`."""
    counts = struct.pack("<QQ", len(saved.tokens), len(saved.state))
    parts = [fingerprint, counts, saved.tokens.tobytes(), saved.state]
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([_MAGIC, digest.digest(), *parts])
        temporary.replace(path)  # without fsync: after a power cut the digest tells
    finally:
        temporary.unlink(missing_ok=True)


def size_of(saved: SavedState) -> int:
    """Bytes of the file that `write` makes."""
    return _HEAD.size + saved.size


def read_tokens(path: Path, fingerprint: bytes) -> Tokens | None:
    """The tokens of a file; None if it belongs to another model. Raises `OSError`, or `ValueError` for no such file."""
    with path.open("rb") as file:
        count, _ = _head(file.read(_HEAD.size), path.stat().st_size)
        file.seek(_HEAD.size - 48)
        if file.read(32) != fingerprint:
            return None
        file.seek(_HEAD.size)
        return _tokens(file.read(4 * count))


def read(path: Path, fingerprint: bytes) -> SavedState:
    """A file's content, checked to the last bit. Raises `OSError`, or `ValueError` where it is damaged."""
    data = path.read_bytes()
    count, _ = _head(data[: _HEAD.size], len(data))
    view = memoryview(data)
    digest = hashlib.blake2b(view[len(_MAGIC) + _DIGEST :], digest_size=_DIGEST).digest()
    begin = len(_MAGIC) + _DIGEST
    if digest != data[len(_MAGIC) : begin] or data[begin : begin + 32] != fingerprint:
        raise ValueError("the file is damaged, or of another model")
    end = _HEAD.size + 4 * count
    return SavedState(_tokens(data[_HEAD.size : end]), view[end:])


def _head(data: bytes, size: int) -> tuple[int, int]:
    if len(data) != _HEAD.size:
        raise ValueError("the file is too short")
    magic, _, _, count, state = _HEAD.unpack(data)
    if magic != _MAGIC or _HEAD.size + 4 * count + state != size:
        raise ValueError("the file is no saved state, or not whole")
    return count, state


def _tokens(data: bytes) -> Tokens:
    return array("i", data)
