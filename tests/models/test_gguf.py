from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import pytest

from ixmodal.errors import WeightsError
from ixmodal.models.gguf import GGML_BLOCKS, read_header
from ixmodal.models.inspect import inspect
from tests.support.gguf_files import entry, header, string, tensor, write_tiny

PATIENCE = 2.0
"""Seconds; a reading takes milliseconds, so this is far over any load and far under a hang."""


def whole(path: Path, entries: list[bytes], tensors: list[bytes], **claims: Any) -> Path:
    path.write_bytes(header(entries, tensors, **claims) + bytes(4096))
    return path


def refusal(path: Path) -> str:
    began = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        read_header(path)
    assert time.monotonic() - began < PATIENCE
    return caught.value.message


def as_the_package_says(field: gguf.ReaderField) -> Any:
    value = field.contents()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [item.encode() if isinstance(item, str) else item for item in value]
    return value


@pytest.mark.parametrize("kind", ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.parametrize("template", [None, "{{ '你好' }}"])
def test_reads_what_the_gguf_package_reads(tmp_path: Path, kind: str, template: str | None) -> None:
    path = write_tiny(tmp_path / "m.gguf", type=kind, chat_template=template, seed=3)
    ours, theirs = read_header(path), gguf.GGUFReader(path)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert list(ours.metadata) == list(fields)
    for name, field in fields.items():
        value = ours.metadata[name]
        expected = as_the_package_says(field)
        assert (list(value) if isinstance(value, tuple) else value) == expected, name
        assert isinstance(value, bool) == isinstance(expected, bool)
    assert ours.data_start == theirs.data_offset
    assert [(t.name, list(t.shape), t.type_id) for t in ours.tensors] == [
        (t.name, t.shape.tolist(), int(t.tensor_type)) for t in theirs.tensors
    ]
    assert [ours.data_start + t.offset for t in ours.tensors] == [t.data_offset for t in theirs.tensors]


def test_block_sizes_are_those_of_the_format() -> None:
    for type_id, (name, weights, stride) in GGML_BLOCKS.items():
        kind = gguf.GGMLQuantizationType(type_id)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (name, (weights, stride))


def test_every_scalar_and_nested_arrays(tmp_path: Path) -> None:
    def array(kind: int, count: int, body: bytes) -> bytes:
        return struct.pack("<IQ", kind, count) + body

    entries = [
        entry(b"u8", 0, b"\xff"),
        entry(b"i8", 1, b"\xff"),
        entry(b"u16", 2, struct.pack("<H", 65535)),
        entry(b"i16", 3, struct.pack("<h", -2)),
        entry(b"u32", 4, struct.pack("<I", 2**32 - 1)),
        entry(b"i32", 5, struct.pack("<i", -3)),
        entry(b"f32", 6, struct.pack("<f", 0.5)),
        entry(b"bool", 7, b"\1"),
        entry(b"text", 8, string(b"\xff\0x")),
        entry(b"u64", 10, struct.pack("<Q", 2**64 - 1)),
        entry(b"i64", 11, struct.pack("<q", -4)),
        entry(b"f64", 12, struct.pack("<d", 0.1)),
        entry(b"nested", 9, array(9, 2, array(5, 1, struct.pack("<i", 7)) + array(8, 1, string(b"in")))),
        entry(b"none", 9, array(6, 0, b"")),
    ]
    found = read_header(whole(tmp_path / "m.gguf", entries, [tensor(b"t", (4,))]))
    assert found.metadata == {
        "u8": 255,
        "i8": -1,
        "u16": 65535,
        "i16": -2,
        "u32": 2**32 - 1,
        "i32": -3,
        "f32": 0.5,
        "bool": True,
        "text": b"\xff\0x",
        "u64": 2**64 - 1,
        "i64": -4,
        "f64": 0.1,
        "nested": [(7,), [b"in"]],
        "none": (),
    }
    assert found.text("text") == "\ufffd\0x"
    assert (found.text("u8"), found.text("absent", "d")) == (None, "d")
    assert (found.integer("i64"), found.integer("bool"), found.integer("f32", 9)) == (-4, None, 9)


@pytest.mark.parametrize("version", [2, 3])
def test_versions_that_are_read(tmp_path: Path, version: int) -> None:
    assert read_header(whole(tmp_path / "m.gguf", [], [tensor(b"t", (4,))], version=version)).version == version


MANY = 2**63
ALIGNED = entry(b"general.alignment", 4, struct.pack("<I", 33))
DAMAGED = {
    "version 1": header([], [], version=1),
    "version of another byte order": header([], [], version=3 << 24),
    "tensors beyond count": header([], [], counts=(MANY, 0)),
    "entries beyond count": header([], [], counts=(0, MANY)),
    "one tensor too many": header([], [tensor(b"t", (4,))], counts=(2, 0)),
    "string past the end": header([struct.pack("<Q", 2**64 - 1) + b"key"], []),
    "unknown type": header([entry(b"k", 13, b"")], []),
    "array of unknown type": header([entry(b"k", 9, struct.pack("<IQ", 77, 1))], []),
    "array of floats past the end": header([entry(b"k", 9, struct.pack("<IQ", 6, 2**62))], []),
    "array of strings past the end": header([entry(b"k", 9, struct.pack("<IQ", 8, 2**61))], []),
    "array of arrays past the end": header([entry(b"k", 9, struct.pack("<IQ", 9, 2**60))], []),
    "arrays too deep": header([entry(b"k", 9, struct.pack("<IQ", 9, 1) * 40)], []),
    "no dimensions": header([], [tensor(b"t", ())]),
    "five dimensions": header([], [tensor(b"t", (1,) * 5)]),
    "an extent of zero": header([], [tensor(b"t", (4, 0))]),
    "an absurd extent": header([], [tensor(b"t", (2**40,))]),
    "absurd extents together": header([], [tensor(b"t", (2**39,) * 4)]),
    "half a block": header([], [tensor(b"t", (33,), 2)]),
    "data past the end": header([], [tensor(b"t", (4096,))]),
    "offset past the end": header([], [tensor(b"t", (4,), 0, 2**63)]),
    "crooked offset": header([], [tensor(b"t", (4,), 0, 7)]),
    "crooked alignment": header([ALIGNED], []),
    "alignment that is text": header([entry(b"general.alignment", 8, string(b"32"))], []),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_headers_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(DAMAGED[name] + bytes(512))
    assert str(path) in refusal(path)


def test_what_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for content in (b"", b"GGUF", b"GGML" + bytes(100), b"<html>" + bytes(100), bytes(100)):
        path.write_bytes(content)
        assert "is not a GGUF file" in refusal(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refusal(tmp_path / "absent.gguf")
    assert "can't be read: Is a directory" in refusal(tmp_path)


def test_every_truncation_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    whole_file, path = tiny_model.read_bytes(), tmp_path / "m.gguf"
    end = read_header(tiny_model).data_start
    offsets = {*range(0, 600, 7), *range(600, end, 97), *range(end, len(whole_file), 1999), len(whole_file) - 64}
    assert len(offsets) > 200
    for offset in sorted(offsets):
        path.write_bytes(whole_file[:offset])
        refusal(path)


def test_noise_behind_the_magic_is_refused(tmp_path: Path) -> None:
    path, noise = tmp_path / "m.gguf", random.Random(1)
    for case in range(300):
        plausible = struct.pack("<IQQ", 3, noise.randrange(300), noise.randrange(60)) if case % 2 else b""
        path.write_bytes(b"GGUF" + plausible + noise.randbytes(noise.randrange(40, 4000)))
        refusal(path)


def test_flipped_bits_raise_nothing_but_weights_errors(tmp_path: Path, tiny_model: Path) -> None:
    original, path, chance = tiny_model.read_bytes(), tmp_path / "m.gguf", random.Random(2)
    end, refused = read_header(tiny_model).data_start, 0
    for _ in range(400):
        data = bytearray(original)
        for _ in range(chance.choice([1, 1, 8])):
            data[chance.randrange(end)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        began = time.monotonic()
        try:
            inspect(path)
        except WeightsError:
            refused += 1
        assert time.monotonic() - began < PATIENCE
    assert 100 < refused < 400  # a flip within a token's text or score damages nothing that can be seen


@pytest.mark.parametrize("kind", [0, 6, 8], ids=["bytes", "floats", "strings"])
def test_a_large_file_with_a_lying_length_allocates_little(tmp_path: Path, kind: int) -> None:
    path, claimed = tmp_path / "m.gguf", 2**30
    path.write_bytes(header([entry(b"k", 9, struct.pack("<IQ", kind, claimed))], []))
    with path.open("r+b") as file:
        file.truncate(2**34)  # a hole: it takes no room on the disk
    assert "header" in refusal(path) or "claims" in refusal(path)


def test_a_large_vocabulary_is_read_quickly(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.gguf", vocabulary=32_000, width=32, heads=1, kv_heads=1, blocks=1, feed_forward=32)
    began = time.monotonic()
    assert len(inspect(path).vocabulary) == 32_000
    assert time.monotonic() - began < 1.0  # some 30 ms; the gguf package takes two seconds
