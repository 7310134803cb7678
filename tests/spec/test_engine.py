from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ixmodal.spec import Model


def test_the_engine_is_chosen_by_the_file_unless_it_is_named() -> None:
    assert (Model("m").engine, Model("m").flash_attention, Model("m").cache_type) == ("auto", None, None)
    named = Model("m", engine="llama_cpp", flash_attention=True, cache_type="q8_0")
    assert (named.engine, named.flash_attention, named.cache_type) == ("llama_cpp", True, "q8_0")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"flash_attention": True}, "`flash_attention` is llama.cpp's alone"),
        ({"flash_attention": False, "engine": "ctransformers"}, "`flash_attention` is llama.cpp's alone"),
        ({"cache_type": "q8_0"}, "`cache_type` is llama.cpp's alone"),
        ({"cache_type": "bf16", "engine": "ctransformers"}, "`cache_type` is llama.cpp's alone"),
        ({"engine": "llama_cpp", "cache_type": "q4_0", "flash_attention": False}, "needs flash attention"),
        ({"disk_cache_mib": 100, "memory_cache_mib": 0}, "filled from memory"),
        ({"memory_cache_mib": -1}, "memory_cache_mib"),
        ({"engine": "vllm"}, "engine"),
        ({"draft_tokens": 4}, "needs speculation"),
        ({"speculation": "prompt_lookup", "draft_tokens": 8, "batch_size": 8}, "holds no token and 8 drafted"),
        ({"speculation": "draft_model"}, "speculation"),
        ({"engine": "llama_cpp", "cache_type": "q2"}, "cache_type"),
    ],
    ids=str,
)
def test_what_an_engine_would_ignore_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Model("m", **fields)
