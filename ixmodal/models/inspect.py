"""What a model file holds and whether an engine here can load it, judged from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ixmodal.errors import UnsupportedModelError, WeightsError
from ixmodal.models import ggjt
from ixmodal.models.gguf import GGML_BLOCKS, MAGIC, GgufHeader, read_header
from ixmodal.models.vocabulary import Vocabulary

SUPPORTED_ARCHITECTURES = ("llama",)
Engine: TypeAlias = Literal["ctransformers", "llama_cpp"]
MAX_VOCABULARY = 1_000_000
BYTE_TOKENS = frozenset(b"<0x%02X>" % value for value in range(256))
_F32 = 0


@dataclass(frozen=True)
class Memory:
    """What a loaded model takes, in bytes: `weights` once, `cache_per_token` for each token of each slot's context."""

    weights: int
    cache_per_token: int
    blocks: int
    heads: int


@dataclass(frozen=True)
class ModelFile:
    """A model file found fit to load by `engine`.

    `context_length` is in tokens, as trained; `ggjt` is the format before GGUF.
    """

    path: Path
    name: str
    architecture: str
    context_length: int
    embedding_length: int
    vocabulary: Vocabulary
    chat_template: str | None
    memory: Memory
    format: Literal["gguf", "ggjt"] = "gguf"
    engine: Engine = "ctransformers"


def inspect(path: Path) -> ModelFile:
    """Read a model file and judge it for ctransformers, before native code sees it.

    Raises:
        WeightsError: missing, damaged or without a vocabulary.
        UnsupportedModelError: an architecture, tokenizer or tensor type that the engine can't load.
    """
    if start_of(path) == ggjt.MAGIC:
        return _inspect_ggjt(path)
    return _inspect_gguf(path)


def check_magic(start: bytes, name: str) -> None:
    """Judge a file by its first four bytes. Raises `WeightsError` unless it is of a format that is loaded here."""
    if older := ggjt.OLDER.get(start[:4]):
        raise UnsupportedModelError(f"{name} is a {older} file, which this engine loads no more; {ggjt.ADVICE}")
    if start[:4] not in (MAGIC, ggjt.MAGIC):
        raise WeightsError(f"{name} is not a GGUF file: it starts with {start[:16]!r}; correct the source")


def start_of(path: Path) -> bytes:
    """The first four bytes of a file that may hold a model. Raises `WeightsError` for any other."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the model's source, or run `ixmodal pull`")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from None
    check_magic(start, str(path))
    return start[:4]


def _inspect_ggjt(path: Path) -> ModelFile:
    found = ggjt.read_ggjt(path)
    parameters = found.parameters
    narrow = found.tensors["layers.0.attention.wk.weight"].shape[1]
    return ModelFile(
        path=path,
        name=path.stem,
        architecture="llama",
        context_length=ggjt.CONTEXT_LENGTH,
        embedding_length=parameters.width,
        vocabulary=found.vocabulary,
        chat_template=None,
        memory=Memory(
            path.stat().st_size, _cache_per_token(parameters.blocks, narrow), parameters.blocks, parameters.heads
        ),
        format="ggjt",
    )


def _cache_per_token(blocks: int, narrow: int) -> int:
    """Bytes: a key and a value of 16-bit floats in each block."""
    return 2 * 2 * blocks * narrow


def _inspect_gguf(path: Path) -> ModelFile:
    header = read_header(path)
    architecture = check_architecture(header)
    _check_tensors(header)
    return ModelFile(
        path=path,
        name=header.text("general.name") or path.stem,
        architecture=architecture,
        context_length=positive(header, f"{architecture}.context_length"),
        embedding_length=positive(header, f"{architecture}.embedding_length"),
        vocabulary=_vocabulary(header),
        chat_template=header.text("tokenizer.chat_template"),
        memory=_memory(header),
    )


def check_architecture(header: GgufHeader) -> str:
    """The architecture, which can be judged before the tensors are there. Raises `UnsupportedModelError`."""
    architecture = header.text("general.architecture") or "none"
    if architecture not in SUPPORTED_ARCHITECTURES:
        supported = ", ".join(SUPPORTED_ARCHITECTURES)
        raise UnsupportedModelError(
            f"{header.path} has the architecture {architecture!r:.60}; this engine loads {supported} (which includes "
            "Mistral); choose a model of that family"
        )
    return architecture


def _memory(header: GgufHeader) -> Memory:
    width, blocks = positive(header, "llama.embedding_length"), positive(header, "llama.block_count")
    heads = positive(header, "llama.attention.head_count")
    narrow = width // heads * (header.integer("llama.attention.head_count_kv") or heads)
    return Memory(header.file_size - header.data_start, _cache_per_token(blocks, narrow), blocks, heads)


def _check_tensors(header: GgufHeader) -> None:
    names = {tensor.name: tensor for tensor in header.tensors}
    for needed in ("token_embd.weight", "output_norm.weight", "output.weight"):
        if needed not in names:
            raise UnsupportedModelError(f"{header.path} has no tensor {needed}; this engine needs it")
    unknown = next((t for t in header.tensors if t.type_id not in GGML_BLOCKS), None)
    if unknown:
        known = ", ".join(name for name, _, _ in GGML_BLOCKS.values())
        raise UnsupportedModelError(
            f"{header.path}: tensor {unknown.name} has type {unknown.type_id}, which this engine does not know; "
            f"choose a file of {known}"
        )
    if odd := next((t for t in header.tensors if len(t.shape) == 1 and t.type_id != _F32), None):
        raise UnsupportedModelError(f"{header.path}: tensor {odd.name} is no F32 vector; this engine needs that")
    _check_shapes(header, {name: tensor.shape for name, tensor in names.items()})


def _check_shapes(header: GgufHeader, shapes: dict[str, tuple[int, ...]]) -> None:
    width, blocks = positive(header, "llama.embedding_length"), positive(header, "llama.block_count")
    heads = positive(header, "llama.attention.head_count")
    shared_by = header.integer("llama.attention.head_count_kv", heads)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    rows = len(tokens) if isinstance(tokens, list) else 0
    if width % heads or blocks > 1024:
        raise WeightsError(f"{header.path} is inconsistent: {width} wide with {heads} heads and {blocks} blocks")
    if not shared_by or shared_by < 0 or heads % shared_by:
        raise WeightsError(f"{header.path} is inconsistent: {heads} heads share {shared_by} keys and values")
    for name in ("token_embd.weight", "output.weight"):
        if shapes[name] != (width, rows):
            raise WeightsError(f"{header.path}: {name} has the shape {shapes[name]}, not {(width, rows)}")
    missing = [i for i in range(blocks) if f"blk.{i}.attn_q.weight" not in shapes]
    if missing:
        raise WeightsError(f"{header.path} is incomplete: it lacks block {missing[0]} of {blocks}")


def _vocabulary(header: GgufHeader) -> Vocabulary:
    kind = header.text("tokenizer.ggml.model")
    if kind != "llama":
        raise UnsupportedModelError(
            f"{header.path} has a {kind or 'missing'!r:.40} tokenizer; this engine knows SentencePiece vocabularies "
            "('llama') only"
        )
    texts, types = header.metadata.get("tokenizer.ggml.tokens"), header.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(texts, list) or not all(isinstance(text, bytes) for text in texts):
        raise WeightsError(f"{header.path} holds no list of tokens")
    if not isinstance(types, tuple) or len(types) != len(texts) or not 256 < len(texts) < MAX_VOCABULARY:
        raise WeightsError(f"{header.path}: the token types don't match its {len(texts)} tokens")
    scores = header.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, tuple) or len(scores) != len(texts):
        raise WeightsError(f"{header.path}: the token scores don't match its {len(texts)} tokens")
    if BYTE_TOKENS - set(texts):
        raise UnsupportedModelError(f"{header.path}: the vocabulary lacks byte tokens; this engine needs all 256")
    for other in ("unknown", "seperator", "padding"):  # the format's own spelling
        token_id(header, other, len(texts), 0)
    return Vocabulary(
        texts,
        types,
        bos_id=token_id(header, "bos", len(texts), 1),
        eos_id=token_id(header, "eos", len(texts), 2),
        add_bos=bool(header.metadata.get("tokenizer.ggml.add_bos_token", True)),
    )


def token_id(header: GgufHeader, which: str, size: int, default: int | None) -> int | None:
    """A special token's id; None where there is none. Raises `WeightsError` if it is not in the vocabulary."""
    token = header.integer(f"tokenizer.ggml.{which}_token_id", default)
    if token is None or token == 0xFFFFFFFF:
        return None
    if not 0 <= token < size:
        raise WeightsError(f"{header.path}: the {which} token {token} is not among its {size} tokens")
    return token


def positive(header: GgufHeader, key: str) -> int:
    """A number greater than zero from the metadata. Raises `WeightsError` without one."""
    number = header.integer(key)
    if not number or number < 0:
        raise WeightsError(f"{header.path} says no usable {key}")
    return number
