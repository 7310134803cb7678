"""What llama.cpp can load: the same safe reading of a GGUF header, for more architectures and tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models.byte_level import decode_all, missing_bytes
from ixmodal.models.gguf import MODERN_BLOCKS, GgufHeader, read_header
from ixmodal.models.inspect import BYTE_TOKENS, MAX_VOCABULARY, Memory, ModelFile, positive, start_of, token_id
from ixmodal.models.vocabulary import Vocabulary

ARCHITECTURES = frozenset(
    [
        "apertus",
        "arcee",
        "baichuan",
        "bloom",
        "chatglm",
        "codeshell",
        "cohere2",
        "command-r",
        "dbrx",
        "deepseek",
        "dots1",
        "ernie4_5",
        "ernie4_5-moe",
        "exaone",
        "exaone4",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3",
        "glm4",
        "glm4moe",
        "gpt-oss",
        "gpt2",
        "gptneox",
        "granite",
        "granitemoe",
        "hunyuan-dense",
        "hunyuan-moe",
        "internlm2",
        "jais",
        "llama",
        "llama4",
        "minicpm",
        "mistral3",
        "mpt",
        "nemotron",
        "olmo",
        "olmo2",
        "olmoe",
        "orion",
        "phi2",
        "phi3",
        "phimoe",
        "plamo",
        "qwen",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "refact",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder",
        "starcoder2",
        "xverse",
    ]
)
"""Decoders whose cache can be cut at any token, which prefix reuse needs: no recurrent ones, no encoders."""
_MAX_BLOCKS = 1024


def inspect_modern(path: Path) -> ModelFile:
    """Read a model file and judge it for llama.cpp, before native code sees it.

    Raises:
        WeightsError: missing, damaged or without a vocabulary.
        UnsupportedModelError: an architecture, tokenizer or tensor type that llama.cpp can't load, or not for serving.
    """
    start_of(path)
    header = read_header(path)
    architecture = check_modern(header)
    vocabulary = _vocabulary(header)
    _check_tensors(header, architecture, len(vocabulary))
    return ModelFile(
        path=path,
        name=header.text("general.name") or path.stem,
        architecture=architecture,
        context_length=positive(header, f"{architecture}.context_length"),
        embedding_length=positive(header, f"{architecture}.embedding_length"),
        vocabulary=vocabulary,
        chat_template=header.text("tokenizer.chat_template"),
        memory=_memory(header, architecture),
        engine="llama_cpp",
    )


def check_modern(header: GgufHeader) -> str:
    """The architecture, which can be judged before the tensors are there. Raises `UnsupportedModelError`."""
    architecture = header.text("general.architecture") or "none"
    if architecture not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{header.path} has the architecture {architecture!r:.60}, which no engine here serves; "
            f"the llama_cpp engine serves {', '.join(sorted(ARCHITECTURES))}"
        )
    return architecture


def _check_tensors(header: GgufHeader, architecture: str, rows: int) -> None:
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    unknown = next((tensor for tensor in header.tensors if tensor.type_id not in MODERN_BLOCKS), None)
    if unknown:
        known = ", ".join(name for name, _, _ in MODERN_BLOCKS.values())
        raise UnsupportedModelError(
            f"{header.path}: tensor {unknown.name} has type {unknown.type_id}, which no engine here knows; choose a "
            f"file of {known}"
        )
    table = (positive(header, f"{architecture}.embedding_length"), rows)
    if (found := shapes.get("token_embd.weight")) != table:
        raise WeightsError(f"{header.path}: token_embd.weight has the shape {found}, not {table}")
    blocks = positive(header, f"{architecture}.block_count")
    if blocks > _MAX_BLOCKS:
        raise WeightsError(f"{header.path} is inconsistent: it claims {blocks} blocks")
    present = {name.split(".", 2)[1] for name in shapes if name.startswith("blk.")}
    missing = [index for index in range(blocks) if str(index) not in present]
    if missing:
        raise WeightsError(f"{header.path} is incomplete: it lacks block {missing[0]} of {blocks}")


def _memory(header: GgufHeader, architecture: str) -> Memory:
    width, blocks = (positive(header, f"{architecture}.{key}") for key in ("embedding_length", "block_count"))
    heads = _a_block(header, f"{architecture}.attention.head_count", blocks)
    shared_by = _a_block(header, f"{architecture}.attention.head_count_kv", blocks, heads)
    if any(not own % shared == 0 for own, shared in zip(heads, shared_by, strict=True)):
        raise WeightsError(f"{header.path} is inconsistent: {max(heads)} heads share {max(shared_by)} keys and values")
    sides = [
        header.integer(f"{architecture}.attention.{side}_length") or width // max(heads) for side in ("key", "value")
    ]
    if not all(0 < side <= width * max(heads) for side in sides):
        raise WeightsError(f"{header.path} is inconsistent: its keys and values are {sides} wide")
    return Memory(header.file_size - header.data_start, 2 * sum(sides) * sum(shared_by), blocks, max(heads))


def _a_block(header: GgufHeader, key: str, blocks: int, default: Sequence[int] = ()) -> Sequence[int]:
    """A number for each block: some architectures give a list, most one for all."""
    value = header.metadata.get(key, default)
    counts = [value] * blocks if isinstance(value, int) else list(value) if isinstance(value, (tuple, list)) else []
    if len(counts) != blocks or not all(isinstance(count, int) and 0 < count <= 1 << 16 for count in counts):
        raise WeightsError(f"{header.path} says no usable {key}")
    return counts


def _vocabulary(header: GgufHeader) -> Vocabulary:
    kind = header.text("tokenizer.ggml.model")
    if kind not in ("llama", "gpt2"):
        raise UnsupportedModelError(
            f"{header.path} has a {kind or 'missing'!r:.40} tokenizer; the llama_cpp engine serves SentencePiece "
            "('llama') and byte-level BPE ('gpt2') vocabularies"
        )
    texts = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(texts, list) or not all(isinstance(text, bytes) for text in texts):
        raise WeightsError(f"{header.path} holds no list of tokens")
    if not 256 < len(texts) < MAX_VOCABULARY:
        raise WeightsError(f"{header.path} holds {len(texts)} tokens")
    types = _column(header, "token_type", texts, is_needed=True)
    _column(header, "scores", texts, is_needed=kind == "llama")
    texts = _spelled(header, texts, types) if kind == "gpt2" else _sentence_pieces(header, texts)
    for other in ("unknown", "seperator", "padding"):  # the format's own spelling
        token_id(header, other, len(texts), None)
    ends = (token_id(header, which, len(texts), None) for which in ("eot", "eom"))
    defaults = (1, 2) if kind == "llama" else (None, None)
    return Vocabulary(
        texts,
        types,
        bos_id=token_id(header, "bos", len(texts), defaults[0]),
        eos_id=token_id(header, "eos", len(texts), defaults[1]),
        add_bos=bool(header.metadata.get("tokenizer.ggml.add_bos_token", kind == "llama")),
        byte_level=kind == "gpt2",
        turn_end_ids=frozenset(end for end in ends if end is not None),
    )


def _column(header: GgufHeader, name: str, texts: Sequence[bytes], *, is_needed: bool) -> Sequence[int]:
    # The library reads as many entries as there are tokens, however few there are.
    found = header.metadata.get(f"tokenizer.ggml.{name}", None if is_needed else ())
    if not isinstance(found, tuple) or len(found) not in ((len(texts),) if is_needed else (0, len(texts))):
        raise WeightsError(f"{header.path}: its {name} don't match its {len(texts)} tokens")
    return found


def _sentence_pieces(header: GgufHeader, texts: list[bytes]) -> list[bytes]:
    if BYTE_TOKENS - set(texts):
        raise UnsupportedModelError(f"{header.path}: the vocabulary lacks byte tokens; the engine needs all 256")
    return texts


def _spelled(header: GgufHeader, texts: list[bytes], types: Sequence[int]) -> list[bytes]:
    merges = header.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list) or not all(isinstance(merge, bytes) and b" " in merge[1:] for merge in merges):
        raise WeightsError(f"{header.path} holds no usable list of merges")
    if not all(_is_utf8(text) for text in (*texts, *merges)):
        raise WeightsError(f"{header.path} holds tokens or merges that are no UTF-8")
    decoded = decode_all(texts, types)
    if missing := missing_bytes(decoded, types):
        raise UnsupportedModelError(f"{header.path}: no token stands for byte {missing[0]}; the engine needs all bytes")
    return decoded


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
