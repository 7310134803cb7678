"""The C API of llama.cpp as of September 2023, which ctransformers 0.2.27's library exports.

Source: `llama.h` in ctransformers' `models/ggml` at v0.2.27. That release is the last: the layout of its structures
never changes again. A library that answers otherwise is refused before anything is passed to it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ixmodal.errors import WeightsError

MAX_BATCH = 512
"""Tokens for which a context reserves work space (`n_batch`): more in one evaluation abort the process."""
LOG_ERROR = 2
"""`LLAMA_LOG_LEVEL_ERROR`."""
LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class ContextParams(ctypes.Structure):
    """`struct llama_context_params`, 64 bytes. A model takes `n_ctx` from it, each context what it holds."""

    _fields_ = (
        ("seed", ctypes.c_uint32),
        ("n_ctx", ctypes.c_int32),
        ("n_batch", ctypes.c_int32),
        ("n_gpu_layers", ctypes.c_int32),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("low_vram", ctypes.c_bool),
        ("mul_mat_q", ctypes.c_bool),
        ("f16_kv", ctypes.c_bool),
        ("logits_all", ctypes.c_bool),
        ("vocab_only", ctypes.c_bool),
        ("use_mmap", ctypes.c_bool),
        ("use_mlock", ctypes.c_bool),
        ("embedding", ctypes.c_bool),
    )


class _Roomy(ctypes.Structure):
    """Room behind the structure, should an unexpected library return a larger one."""

    _fields_ = (("params", ContextParams), ("room", ctypes.c_ubyte * 448))


_DEFAULTS: dict[str, Any] = {
    "seed": 2**32 - 1,
    "n_ctx": 512,
    "n_batch": 512,
    "n_gpu_layers": 0,
    "main_gpu": 0,
    "tensor_split": None,
}
_DEFAULTS |= {"rope_freq_base": 10_000.0, "rope_freq_scale": 1.0, "progress_callback": None}
_DEFAULTS |= {"progress_callback_user_data": None, "low_vram": False, "mul_mat_q": False, "f16_kv": True}
_DEFAULTS |= {"logits_all": False, "vocab_only": False, "use_mmap": True, "use_mlock": False, "embedding": False}

_POINTER, _INT, _SIZE, _TOKENS = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_log_set": (None, [LogCallback, _POINTER]),
    "llama_load_model_from_file": (_POINTER, [ctypes.c_char_p, ContextParams]),
    "llama_free_model": (None, [_POINTER]),
    "llama_model_n_vocab": (_INT, [_POINTER]),
    "llama_model_n_ctx": (_INT, [_POINTER]),
    "llama_model_n_embd": (_INT, [_POINTER]),
    "llama_new_context_with_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_tokenize_with_model": (_INT, [_POINTER, ctypes.c_char_p, _TOKENS, _INT, ctypes.c_bool]),
    "llama_eval": (_INT, [_POINTER, _TOKENS, _INT, _INT, _INT]),
    "llama_get_logits": (_POINTER, [_POINTER]),
    "llama_get_embeddings": (_POINTER, [_POINTER]),
    "llama_get_kv_cache_token_count": (_INT, [_POINTER]),
    "llama_get_state_size": (_SIZE, [_POINTER]),
    "llama_copy_state_data": (_SIZE, [_POINTER, _POINTER]),
    "llama_set_state_data": (_SIZE, [_POINTER, _POINTER]),
}


def load_llama(path: str) -> Any:
    """The library at `path`, its functions declared. Raises `WeightsError` if it is not the one meant here."""
    library = ctypes.CDLL(path)
    try:
        library.llama_context_default_params.restype = _Roomy
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise _unexpected(path, str(error)) from None
    found = library.llama_context_default_params().params
    values = {name: getattr(found, name) for name in _DEFAULTS}
    if values != _DEFAULTS:
        raise _unexpected(path, f"its default parameters are {values}")
    return library


def default_params() -> ContextParams:
    """What `llama_context_default_params` returns."""
    return ContextParams(**_DEFAULTS)


def _unexpected(path: str, reason: str) -> WeightsError:
    return WeightsError(f"{path} is not ctransformers 0.2.27's ({reason}); run `pip install ctransformers==0.2.27`")
