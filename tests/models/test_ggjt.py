"""The format before GGUF: what is told of a fit file, and that no other one gets past."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.ggjt import Hyperparameters, read_ggjt
from ixmodal.models.inspect import inspect
from tests.support.ggjt_files import write_ggjt
from tests.support.gguf_files import write_tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of an architecture that the old format can express."""
    room = tmp_path_factory.mktemp("ggjt")
    return write_tiny(room / "m.gguf", kv_heads=4, feed_forward=256, chat_template=None)


@pytest.fixture(scope="module")
def old(source: Path) -> Path:
    return write_ggjt(source.with_name("m.ggmlv3.q4_0.bin"), source)


def changed(old: Path, target: Path, at: int, value: int) -> Path:
    """A copy with another number `at` an index of the header: 0 version, 1 vocabulary, 2 width, 3 multiple, …"""
    data = bytearray(old.read_bytes())
    struct.pack_into("<I", data, 4 + 4 * at, value)
    target.write_bytes(data)
    return target


def test_what_is_told_of_a_fit_model(old: Path, source: Path) -> None:
    model, modern = inspect(old), inspect(source)
    assert (model.format, model.architecture, model.name) == ("ggjt", "llama", "m.ggmlv3.q4_0")
    assert (model.context_length, model.embedding_length, model.chat_template) == (2048, 64, None)
    assert list(model.vocabulary.texts)[1:] == list(modern.vocabulary.texts)[1:]
    assert list(model.vocabulary.types) == list(modern.vocabulary.types)
    assert (model.vocabulary.bos_id, model.vocabulary.eos_id, model.vocabulary.add_bos) == (1, 2, True)
    assert model.memory.cache_per_token == modern.memory.cache_per_token == 2 * 2 * 2 * 64


def test_the_widths_of_the_real_models() -> None:
    for width, blocks, multiple, shared_by, expected in [
        (4096, 32, 256, 1, 11008),
        (5120, 40, 256, 1, 13824),
        (6656, 60, 256, 1, 17920),
        (8192, 80, 256, 1, 22016),
        (8192, 80, 4096, 8, 28672),
    ]:
        numbers = Hyperparameters(32_000, width, multiple, 64, blocks, width // 64, 2)
        assert numbers.feed_forward(shared_by) == expected


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 4, "version 4 of the old GGML format; convert it to GGUF"),
        (1, 10, "it claims 10 tokens"),
        (1, 2**31, "tokens and 2 blocks"),
        (2, 60, "don't go together"),
        (3, 0, "don't go together"),
        (3, 100, "where the engine expects .64, 200."),
        (4, 0, "don't go together"),
        (5, 0, "0 blocks"),
        (5, 33, "33 blocks, which this engine does not know"),
        (5, 3, "lacks tensor layers.2."),
        (5, 1, "holds, against the architecture, tensor layers.1."),
        (6, 8, "don't go together"),
    ],
)
def test_a_header_that_does_not_fit(old: Path, tmp_path: Path, at: int, value: int, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error:
        inspect(changed(old, tmp_path / "m.bin", at, value))
    assert str(tmp_path) in error.value.message


def test_quantizations_that_changed_since_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="quantized in a way of before May 2023"):
        inspect(write_ggjt(tmp_path / "m.bin", source, version=2))


def test_shared_keys_are_known_by_the_path_alone(old: Path, tmp_path: Path) -> None:
    path = tmp_path / "llama-2-70B.ggmlv3.bin"
    path.write_bytes(old.read_bytes())
    with pytest.raises(UnsupportedModelError, match=r"attention.wk.weight has the shape \(64, 64\).*expects \(64, 8\)"):
        inspect(path)


@pytest.mark.parametrize(("magic", "name"), [(b"lmgg", "ggml"), (b"fmgg", "ggmf"), (b"algg", "ggla")])
def test_what_came_before_is_refused_by_name(magic: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(UnsupportedModelError, match=f"is a {name} file, .* convert it to GGUF with llama.cpp's"):
        inspect(path)


def test_no_cut_gets_past(old: Path, tmp_path: Path) -> None:
    data = old.read_bytes()
    path = tmp_path / "m.bin"
    draw = random.Random(1)
    for length in [4, 5, 35, 36, 40, len(data) - 1, *(draw.randrange(4, len(data)) for _ in range(40))]:
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_ggjt(path)


def test_no_damage_breaks_the_reader(old: Path, tmp_path: Path) -> None:
    data = old.read_bytes()
    end = data.index(b"norm.weight") + 64
    path = tmp_path / "m.bin"
    draw = random.Random(2)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(4, end)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            found = read_ggjt(path)
        except WeightsError:
            continue
        assert all(tensor.offset < len(data) for tensor in found.tensors.values())
