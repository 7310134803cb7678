"""A backend that follows a script: it says what it is told, and crashes or hangs on request.

It stands in for a native library where a test needs to choose the tokens or the failure. Its vocabulary is the 256
bytes plus control tokens, its chat template is ChatML, and its answer to a prompt is the text after the last `say:` in
it, or else the prompt's last line. A prompt without template ends with `|`. Directives anywhere in the prompt: `!crash`
ends the process by SIGSEGV at the first forward, `!crash-after=N` after N tokens, `!hang` never returns, `!slow=S`
sleeps S seconds a forward, `!fail` reports an error, `!nan` yields no number, `!forever` never stops by itself.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence

import numpy as np

from ixmodal.backends.base import Chunk, LoadParams, Logits, State
from ixmodal.errors import EngineError, WeightsError
from ixmodal.models.vocabulary import TokenType, Vocabulary

_SPECIAL = (b"<unk>", b"<s>", b"</s>")
_BYTES = tuple(b"<0x%02X>" % value for value in range(256))
_CHAT = (b"<|im_start|>", b"<|im_end|>")
_FIRST_BYTE, _START = len(_SPECIAL), len(_SPECIAL) + len(_BYTES)
_END = _START + 1
_ANSWER = b"assistant\n"
_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_DIRECTIVE = re.compile(r"!([a-z-]+)(?:=([0-9.]+))?")


class ScriptedBackend:
    """Speaks bytes. `LoadParams.path` may be `!fail-load`, `!crash-load` or `!hang-load`."""

    max_chunks = 1
    can_copy = True
    can_score = can_pool = True

    def __init__(self, params: LoadParams) -> None:
        if params.path == "!fail-load":
            raise WeightsError("the script says that this model can't be loaded")
        _obey(params.path.endswith("crash-load"), params.path.endswith("hang-load"))
        types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * 2 + [TokenType.BYTE] * 256 + [TokenType.CONTROL] * 2
        self.vocabulary = Vocabulary(_SPECIAL + _BYTES + _CHAT, types, bos_id=1, eos_id=_END)
        self.chat_template: str | None = _TEMPLATE
        self.context_length = params.context_length or 4096
        self.slots = params.slots
        self._held: list[list[int]] = [[] for _ in range(params.slots)]
        self._last = [0] * params.slots

    def tokenize(self, text: str) -> list[int]:
        """One token a byte."""
        return [_FIRST_BYTE + value for value in text.encode()]

    def forward(self, chunks: Sequence[Chunk]) -> None:
        """Hold the tokens, and obey the prompt's directives."""
        for chunk in chunks:
            self._check_holds(chunk.slot, chunk.past)
            self._held[chunk.slot][chunk.past :] = chunk.tokens
            self._last[chunk.slot] = len(chunk.tokens) if chunk.scores else 1
            prompt, said = _split(self._held[chunk.slot])
            orders = {name: float(value or 0) for name, value in _DIRECTIVE.findall(prompt)}
            crash_after = orders.get("crash-after", -1.0)
            begun = prompt.endswith((_ANSWER.decode(), "|"))
            _obey("crash" in orders or (begun and 0 <= crash_after <= len(said)), "hang" in orders)
            time.sleep(orders.get("slow", 0.0))
            if "fail" in orders:
                raise EngineError("the script says that this forward fails")

    def logits(self, slot: int) -> Logits:
        """All weight on the script's next byte."""
        return self._logits(self._held[slot])

    def scores(self, slot: int) -> Logits:
        """All weight on the script's next byte after each of the chunk's tokens."""
        return np.stack([self._logits(held) for held in self._grown(slot)])

    def _grown(self, slot: int) -> list[list[int]]:
        """What the slot held after each token that the last forward was to score."""
        held = self._held[slot]
        return [held[: len(held) - back] for back in reversed(range(self._last[slot]))]

    def _logits(self, held: list[int]) -> Logits:
        prompt, said = _split(held)
        vector = np.full(len(self.vocabulary), -20.0, dtype=np.float32)
        if "!nan" in prompt:
            return np.full_like(vector, np.nan)
        script = _script(prompt)
        position = len(said) % len(script) if "!forever" in prompt and script else len(said)
        chosen = _FIRST_BYTE + script[position] if position < len(script) else _END
        vector[chosen] = 20.0
        return vector

    def embedding(self, slot: int) -> Logits:
        """How often each byte occurs in the slot, as a vector of 256."""
        return _counts(self._held[slot])

    def embeddings(self, slot: int) -> Logits:
        """The same after each of the chunk's tokens."""
        return np.stack([_counts(held) for held in self._grown(slot)])

    def copy(self, source: int, target: int, count: int) -> None:
        """The same tokens in another slot."""
        self._check_holds(source, count)
        self._held[target] = self._held[source][:count]

    def save(self, slot: int, count: int) -> State:
        """The tokens themselves, as int32."""
        self._check_holds(slot, count)
        return np.array(self._held[slot][:count], np.int32).tobytes()

    def restore(self, slot: int, state: State) -> None:
        """The tokens that were saved. Raises `EngineError` for bytes that are none."""
        self._held[slot] = []
        if len(state) % 4:
            raise EngineError("these bytes are no state of a slot")
        self._held[slot] = np.frombuffer(state, np.int32).tolist()

    def _check_holds(self, slot: int, count: int) -> None:
        if count > len(self._held[slot]):
            raise EngineError(f"{count} tokens are said to be cached, but {len(self._held[slot])} are")

    def close(self) -> None:
        """Forget everything."""
        self._held.clear()


def _split(held: list[int]) -> tuple[str, bytes]:
    """The text of the prompt, and what was said since."""
    data = [token if token > _END - 2 else token - _FIRST_BYTE for token in held]
    raw = bytes(value for value in data if 0 <= value < 256)
    prompt, mark, said = raw.rpartition(_ANSWER if _ANSWER in raw else b"|")
    return (prompt + mark).decode("utf-8", "replace") if mark else raw.decode("utf-8", "replace"), said


def _counts(held: list[int]) -> Logits:
    tokens = [token - _FIRST_BYTE for token in held if _FIRST_BYTE <= token < _START]
    return np.bincount(tokens, minlength=len(_BYTES)).astype(np.float32)


def _script(prompt: str) -> bytes:
    _, mark, told = prompt.rpartition("say:")
    text = told if mark else prompt
    return text.removesuffix("|").removesuffix(_ANSWER.decode()).strip().rsplit("\n", 1)[-1].encode() or b"ok"


def _obey(crash: bool, hang: bool) -> None:
    if crash:
        os.kill(os.getpid(), signal.SIGSEGV)
    while hang:
        time.sleep(3600)
