"""The frames that the server's process and the engine's process exchange.

Each frame is a 4-byte big-endian length and that many bytes of msgpack: a list of messages, decoded into exactly these
types, for the sender may be a process whose memory native code has damaged. What a step of the engine has to say to all
its requests is one frame: one system call to send, one to receive, one look at it by the server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec

from ixmodal.engine.request import FinishReason, GenerationRequest, ModelInfo, Pooling, Prompt, TokenLogprob

MAX_FRAME_BYTES = 1 << 29
SAVE_SECONDS = 10.0
"""What an engine with a disk cache may take to save the slots at its end."""
_LENGTH = struct.Struct(">I")


class Load(msgspec.Struct, frozen=True, tag="load"):
    """First frame to a worker: what to load and how."""

    backend: str
    path: str
    slots: int
    batch_size: int
    threads: int
    context_length: int | None = None
    gpu_layers: int = 0
    mmap: bool = True
    mlock: bool = False
    flash_attention: bool | None = None
    cache_type: str = "f16"
    draft_tokens: int = 0
    """Tokens drafted at a time by prompt lookup; 0: none."""
    chat_template: str | None = None
    template_timeout: float = 2.0
    warm_up: bool = True
    memory_cache_bytes: int = 0
    """What the states of slots that were given to other prompts may take."""
    disk_cache_bytes: int = 0
    disk_cache_directory: str | None = None


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Start a generation under a number that the server chose."""

    id: int
    request: GenerationRequest


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Turn a prompt into a vector."""

    id: int
    prompt: Prompt
    pooling: Pooling


class Encode(msgspec.Struct, frozen=True, tag="encode"):
    """Tokenize a prompt, and spell it out if it is a conversation."""

    id: int
    prompt: Prompt


class Decode(msgspec.Struct, frozen=True, tag="decode"):
    """Turn token ids into text."""

    id: int
    tokens: list[int]


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a generation; nothing more is sent for it."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded."""

    model: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The model can't be loaded, now or later."""

    message: str
    unsupported: bool


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The prompt was accepted: its length, how much of it a slot already held (tokens), if it ends inside a thought."""

    id: int
    prompt_tokens: int
    cached_tokens: int
    dropped_messages: int = 0
    starts_inside: bool = False


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A step was made that produced no text."""


class Delta(msgspec.Struct, frozen=True, tag="delta", omit_defaults=True, gc=False):
    """Text that became certain; `completion_tokens` counts all tokens so far, `reasoning_tokens` those of thoughts."""

    id: int
    text: str
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning_tokens: int = 0


class PromptRead(msgspec.Struct, frozen=True, tag="prompt_read"):
    """Log-probabilities of a prompt's tokens, where they were asked for."""

    id: int
    logprobs: tuple[TokenLogprob, ...]


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    """The last text of a generation and why it ended."""

    id: int
    text: str
    completion_tokens: int
    reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning_tokens: int = 0


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """A prompt's vector as little-endian float32, not normalised, and the tokens that were evaluated for it."""

    id: int
    vector: bytes
    prompt_tokens: int


class Encoded(msgspec.Struct, frozen=True, tag="encoded"):
    """A prompt's tokens, what each adds to the text, and the prompt spelled out."""

    id: int
    tokens: list[int]
    pieces: list[bytes]
    text: str


class Decoded(msgspec.Struct, frozen=True, tag="decoded"):
    """The text of token ids."""

    id: int
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request can't be honoured as sent; the caller is at fault."""

    id: int
    message: str
    code: str | None = None
    param: str | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The engine failed at this request and goes on with the others."""

    id: int
    message: str


ToWorker = Load | Generate | Embed | Encode | Decode | Cancel
FromWorker = (
    Ready
    | LoadFailed
    | Started
    | Progress
    | Delta
    | PromptRead
    | Finished
    | Embedded
    | Encoded
    | Decoded
    | Refused
    | Failed
)

_encoder = msgspec.msgpack.Encoder()
to_worker = msgspec.msgpack.Decoder(list[ToWorker])
from_worker = msgspec.msgpack.Decoder(list[FromWorker])


def frame(messages: Sequence[msgspec.Struct]) -> bytes:
    """Messages as bytes for the socket, in one frame."""
    body = _encoder.encode(messages)
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes and yield each frame's body that is now complete. Raises `ValueError` on an absurd length."""
        if not self._data and len(data) >= _LENGTH.size and _LENGTH.unpack_from(data)[0] == len(data) - _LENGTH.size:
            yield data[_LENGTH.size :]  # exactly one, as nearly always
            return
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._data, at)
                if length > MAX_FRAME_BYTES:
                    raise ValueError(f"a frame claims {length} bytes")
                end = at + _LENGTH.size + length
                if len(self._data) < end:
                    break
                yield bytes(self._data[at + _LENGTH.size : end])
                at = end
        finally:
            del self._data[:at]
