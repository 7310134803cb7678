"""From tokens' bytes to text that is safe to send: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """Incremental UTF-8 with stop strings held back. Bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """Add a token's bytes; returns the text that is now certain. Sets `stopped` when a stop string is met."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """The rest at the end of the answer, an incomplete character as U+FFFD."""
        text = self._release(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self._stop:
            return text
        self._held += text
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            # The one that is complete first, as if characters came one by one: tokens' borders make no difference.
            self.stopped = True
            text, self._held = self._held[: min(found)[1]], ""
            return text
        keep = max(self._overlap(stop) for stop in self._stop)
        end = len(self._held) - keep
        text, self._held = self._held[:end], self._held[end:]
        return text

    def _overlap(self, stop: str) -> int:
        """Characters at the end of what is held with which `stop` begins."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
