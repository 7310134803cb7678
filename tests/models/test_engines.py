"""Which engine a file gets. No native code runs: `find_spec` says whether llama.cpp is installed."""

from __future__ import annotations

import importlib.util
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.engines import judge
from ixmodal.models.inspect import ModelFile, inspect
from ixmodal.models.memory import need_of
from tests.support.gguf_files import write_tiny
from tests.support.modern_files import CONTROL, write_qwen2


@pytest.fixture
def qwen2(tmp_path: Path) -> Path:
    return write_qwen2(tmp_path / "qwen2.gguf")


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.fixture
def _absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("_installed")
def test_ctransformers_where_it_can_serve(tiny_model: Path) -> None:
    assert judge(tiny_model).engine == "ctransformers"
    assert judge(tiny_model, "llama_cpp").engine == "llama_cpp"


@pytest.mark.usefixtures("_installed")
def test_a_newer_model_gets_llama_cpp(qwen2: Path) -> None:
    model = judge(qwen2)
    assert (model.engine, model.architecture, model.context_length) == ("llama_cpp", "qwen2", 256)
    vocabulary = model.vocabulary
    assert (vocabulary.byte_level, vocabulary.add_bos, vocabulary.bos_id) == (True, False, None)
    assert set(vocabulary.control_ids) == set(CONTROL)
    assert vocabulary.piece(vocabulary.texts.index(b" the")) == b" the"
    with pytest.raises(UnsupportedModelError, match="this engine loads llama"):
        judge(qwen2, "ctransformers")


@pytest.mark.usefixtures("_absent")
@pytest.mark.parametrize("engine", ["auto", "llama_cpp"])
def test_the_extra_is_named_where_it_is_missing(qwen2: Path, engine: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"pip install '?ixmodal\[llama-cpp\]'?"):
        judge(qwen2, engine)


@pytest.mark.usefixtures("_installed")
def test_a_quantisation_of_newer_files_gets_llama_cpp(tmp_path: Path) -> None:
    assert judge(write_tiny(tmp_path / "m.gguf", type="BF16")).engine == "llama_cpp"


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("architecture", ["mamba", "bert", "t5", "nonsense"])
def test_what_no_engine_serves(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"Nor does llama.cpp.*'{architecture}'"):
        judge(write_qwen2(tmp_path / "m.gguf", architecture=architecture))


WRONG: list[tuple[dict[str, Any], type[WeightsError], str]] = [
    ({"model": "bert"}, UnsupportedModelError, "'bert' tokenizer"),
    ({"merges": None}, WeightsError, "merges"),
    ({"merges": ["", "a b"]}, WeightsError, "merges"),
    ({"merges": [1, 2]}, WeightsError, "merges"),
    ({"token_type": [1, 1]}, WeightsError, "token_type"),
    ({"token_type": None}, WeightsError, "token_type"),
    ({"scores": [0.5]}, WeightsError, "scores"),
    ({"tokens": ["only"] * 300}, UnsupportedModelError, "no token stands for byte 0"),
]


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(("keys", "kind", "why"), WRONG, ids=[f"{why} {n}" for n, (_, _, why) in enumerate(WRONG)])
def test_a_vocabulary_that_lies_is_refused(tmp_path: Path, keys: Any, kind: type[WeightsError], why: str) -> None:
    with pytest.raises(WeightsError, match=why) as caught:
        judge(_with(tmp_path / "m.gguf", keys), "llama_cpp")
    assert type(caught.value) is kind


def _with(path: Path, keys: dict[str, Any]) -> Path:
    if "tokens" not in keys:
        return write_qwen2(path, **keys)
    return write_qwen2(path, tokens=[*keys["tokens"], *CONTROL])


@pytest.mark.usefixtures("_installed")
def test_a_table_that_is_not_the_vocabularys_size(tmp_path: Path, qwen2: Path) -> None:
    data, name = qwen2.read_bytes(), b"token_embd.weight"
    at = data.index(name) + len(name) + 4 + 8
    (tmp_path / "m.gguf").write_bytes(data[:at] + (258).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(WeightsError, match=r"token_embd[.]weight has the shape"):
        judge(tmp_path / "m.gguf")


@pytest.mark.usefixtures("_installed")
def test_truncated_files_and_noise_are_refused(tmp_path: Path, qwen2: Path) -> None:
    data, noise = qwen2.read_bytes(), random.Random(1)
    contents = [data[: int(len(data) * share)] for share in (0.001, 0.01, 0.1, 0.5, 0.999)]
    contents += [b"GGUF" + noise.randbytes(10_000), data[:500] + noise.randbytes(len(data) - 500)]
    for content in contents:
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(WeightsError):
            judge(tmp_path / "m.gguf")


@pytest.mark.usefixtures("_installed")
def test_llama_cpp_holds_weights_and_work_once_and_smaller_caches(qwen2: Path) -> None:
    options: Any = {"context_length": 300, "batch_size": 64, "gpu_layers": 0, "mmap": False}
    found = judge(qwen2)
    one, four = (need_of(found, slots=slots, **options) for slots in (1, 4))
    assert one.cache == 512 * 2 * 2 * 2 * 32  # rounded up to 256 tokens; 2 bytes, K and V, 2 blocks, 2 heads of 16
    assert (four.weights, four.work, four.cache) == (one.weights, one.work, 4 * one.cache)
    assert four.host == one.host + 3 * one.cache
    assert need_of(found, slots=4, cache_type="q8_0", **options).cache == four.cache * 34 // 64


def test_ctransformers_holds_gguf_weights_once_on_a_cpu(tiny_model: Path) -> None:
    options: Any = {"context_length": 256, "batch_size": 64, "mmap": False}
    found = judge(tiny_model)
    one, four = (need_of(found, slots=slots, gpu_layers=0, **options) for slots in (1, 4))
    assert one.work == 64 * (256 * 4 + 600) * 4  # a score for each of 4 heads and tokens, logits of 600 tokens
    assert (four.host, four.gpu) == (one.host + 3 * (one.cache + one.work), 0)
    assert need_of(found, slots=4, gpu_layers=99, **options).gpu >= 4 * found.memory.weights
    older = replace(found, format="ggjt")
    assert need_of(older, slots=4, gpu_layers=0, **options).host == four.host + 3 * found.memory.weights


def test_a_file_is_read_again_only_once_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny(tmp_path / "m.gguf")
    reads: list[Path] = []

    def noted(path: Path) -> ModelFile:
        reads.append(path)
        return inspect(path)

    monkeypatch.setattr("ixmodal.models.engines.inspect", noted)
    assert judge(path) is judge(path, "ctransformers")
    assert len(reads) == 1
    write_tiny(path, context_length=128)
    assert judge(path).context_length == 128
    path.write_bytes(b"GGUF")
    for _ in range(2):
        with pytest.raises(WeightsError):
            judge(path)
    assert len(reads) == 4
