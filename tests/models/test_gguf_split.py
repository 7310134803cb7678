"""Merging the parts of a split model; the parts are written by the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.gguf import read_header
from ixmodal.models.gguf_split import Union
from tests.support.gguf_files import write_tiny


def split(room: Path, tensors_a_part: int, **overrides: object) -> list[Path]:
    write_tiny(room / "m.gguf", tensors_a_part=tensors_a_part, **overrides)
    return sorted(room.glob("m-*.gguf"))


def merged(parts: list[Path]) -> bytes:
    union = Union([read_header(part) for part in parts])
    content = b"".join(union.blocks())
    assert len(content) == union.size
    return content


@pytest.mark.parametrize(("tensors_a_part", "count"), [(8, 3), (1, 21), (20, 2)])
def test_the_union_is_the_file_that_was_never_split(tmp_path: Path, tensors_a_part: int, count: int) -> None:
    parts = split(tmp_path, tensors_a_part)
    assert len(parts) == count
    assert merged(parts) == write_tiny(tmp_path / "whole.gguf").read_bytes()


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    first, second, third = split(tmp_path, 8)
    for wrong in ([second, first, third], [first, second], [first, second, second]):
        with pytest.raises(WeightsError, match=r"does not belong with the other parts of the model: it says split\.no"):
            merged(wrong)


def changed(path: Path, key: bytes, value: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(key) + len(key) + 4
    data[at : at + len(value)] = value
    path.write_bytes(data)


def test_tensors_that_are_missing(tmp_path: Path) -> None:
    parts = split(tmp_path, 8)
    changed(parts[0], b"split.tensors.count", b"\x16")
    with pytest.raises(WeightsError, match="the parts hold 21 of 22 tensors"):
        merged(parts)


def test_a_tensor_that_is_there_twice(tmp_path: Path) -> None:
    parts = split(tmp_path, 8)
    other = (tmp_path / "other").joinpath
    other().mkdir()
    again = split(other(), 8)[0]
    changed(again, b"split.no", b"\x01")
    with pytest.raises(WeightsError, match="is in another part too"):
        merged([parts[0], again, parts[2]])


def test_a_type_that_is_not_known(tmp_path: Path) -> None:
    parts = split(tmp_path, 8)
    data = parts[1].read_bytes()
    at = data.index(b".weight") + 7 + 4
    dimensions = data[at - 4]
    at += 8 * dimensions
    parts[1].write_bytes(data[:at] + b"\x1f" + data[at + 1 :])
    with pytest.raises(UnsupportedModelError, match="has type 31"):
        merged(parts)


def test_a_part_that_is_cut_meanwhile(tmp_path: Path) -> None:
    parts = split(tmp_path, 8)
    union = Union([read_header(part) for part in parts])
    parts[2].write_bytes(parts[2].read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="ended early while it was merged"):
        list(union.blocks())
