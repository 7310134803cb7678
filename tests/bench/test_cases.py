from __future__ import annotations

import importlib
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.cases import CASES
from bench.models import model_file
from bench.record import DOCUMENT
from bench.servers import COMMANDS, Setup
from bench.words import only_words
from ixmodal.benchmark.prompts import WORDS
from tools.random_model import CONTROL, SHAPES, vocabulary_of, write_random_llama


def test_the_document_has_a_place_for_every_case() -> None:
    assert re.findall(r"<!-- case: (\w+) -->", DOCUMENT.read_text()) == list(CASES)


@pytest.mark.parametrize("case", CASES)
def test_every_case_can_be_measured(case: str) -> None:
    assert callable(importlib.import_module(f"bench.cases.{case}").measure)


def test_all_servers_get_the_same_file_threads_slots_and_context() -> None:
    setup = Setup(model_file("demo"), slots=3, context=128, threads=2)
    for engine in ("ctransformers", "llama_cpp"):
        [model] = json.loads(COMMANDS[f"ixmodal-{engine}"](setup, 1)[1]["IXMODAL_SPEC"])["models"]
        assert (model["engine"], model["source"]) == (engine, f"file://{setup.model}")
        assert (model["slots"], model["context_length"], model["threads"]) == (3, 128, 2)
    server = " ".join(COMMANDS["llama-server"](setup, 1)[0])
    for words in (f"--model {setup.model}", "--parallel 3", "--ctx-size 384", "--threads 2", "--threads-batch 2"):
        assert words in server
    python = " ".join(COMMANDS["llama-cpp-python"](setup, 1)[0])
    for words in (f"--model {setup.model}", "--n_ctx 128", "--n_threads 2", "--n_threads_batch 2"):
        assert words in python


def test_a_bias_to_words_names_their_tokens(tmp_path: Path) -> None:
    shape = asdict(SHAPES["tiny"])
    bias = only_words(write_random_llama(tmp_path / "tiny.gguf", **shape))
    pieces, _, _ = vocabulary_of(shape["vocabulary"], CONTROL)
    assert {pieces[int(token)] for token in bias} == {f"\u2581{word}" for word in WORDS} & set(pieces)
    assert len(bias) > 20
    assert set(bias.values()) == {100.0}
