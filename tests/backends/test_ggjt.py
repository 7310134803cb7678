"""The format before GGUF, by the real library: the same weights in both formats give the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ixmodal.backends.base import Chunk
from ixmodal.backends.ctransformers import CtransformersBackend
from tests.support.ggjt_files import RMS_EPSILON, write_ggjt
from tests.support.gguf_files import load_params, write_tiny


@pytest.mark.parametrize(("type", "version"), [("Q4_0", 3), ("Q8_0", 3), ("F16", 3), ("F16", 1), ("F32", 2)])
def test_both_formats_answer_alike(tmp_path: Path, type: str, version: int) -> None:
    epsilon = {"llama.attention.layer_norm_rms_epsilon": RMS_EPSILON}
    gguf = write_tiny(tmp_path / "m.gguf", kv_heads=4, feed_forward=256, chat_template=None, type=type, **epsilon)
    ggjt = write_ggjt(tmp_path / "m.bin", gguf, version=version, file_type=0 if type == "F32" else 1)
    new = CtransformersBackend(load_params(gguf, slots=2))
    old = CtransformersBackend(load_params(ggjt, slots=2, context_length=256))
    try:
        assert old.context_length == new.context_length == 256
        for text in ("the word", "the of and  to\0in 你好 😀", "<s> and \u2047 are text"):
            tokens = new.tokenize(text)
            assert old.tokenize(text) == tokens
            for backend in (new, old):
                backend.forward([Chunk(1, tokens, 0)])
            np.testing.assert_allclose(old.logits(1), new.logits(1), atol=1e-5)
            np.testing.assert_allclose(old.embedding(1), new.embedding(1), atol=1e-5)
            assert np.ptp(new.logits(1)) > 1
    finally:
        new.close()
        old.close()
