"""The SentencePiece-style BPE vocabulary: built from words, and encoded as the runtime does.

Merges join letters inside a word, and a few punctuation marks of JSON. A space (``▁``) only ever
joins what stands *before* it, in frequent words: so a phrase has the same tokens at the start of
an answer, inside quotes and after a space, which makes copying easy to learn. Everything outside
ASCII, newlines included, is made of byte tokens.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

SPACE = "▁"
BYTE_OFFSET = 3
CONTROLS = ("<unk>", "<s>", "</s>")
MARKERS = ("<|im_start|>", "<|im_end|>")
JSON_PIECES = ('{"', '":', '"}', '",', "}}", '"}}', "</", "},", '"]', "]}", '["', "]}}")
SPACED_MARKS = (",", ".", ":", "?", "!", '":', '",', "},", "+", "=", "#")
_CHUNK = re.compile(rf"[A-Za-z]+{SPACE}?|[!-/:-@\[-`{{-~]+{SPACE}?|.", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")


class Tokenizer:
    """Greedy merging by rank over a fixed vocabulary."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces
        self.index = {piece: place for place, piece in enumerate(pieces)}
        self.bos = self.index["<s>"]
        self.im_start, self.im_end = (self.index[marker] for marker in MARKERS)
        self.first_piece = BYTE_OFFSET + 256 + len(MARKERS)
        self._chunk = lru_cache(maxsize=200_000)(self._encode_chunk)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a vocabulary that ``save`` wrote."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write the vocabulary as a JSON list."""
        path.write_text(json.dumps(self.pieces, ensure_ascii=False, indent=0), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, fragment: str) -> list[int]:
        """Encode one text fragment, with the space that the runtime puts before it."""
        text = SPACE + fragment.replace(" ", SPACE)
        return [token for chunk in _CHUNK.findall(text) for token in self._chunk(chunk)]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text; control tokens vanish."""
        data = bytearray()
        for token in ids:
            if BYTE_OFFSET <= token < BYTE_OFFSET + 256:
                data.append(token - BYTE_OFFSET)
            elif token >= self.first_piece:
                data += self.pieces[token].replace(SPACE, " ").encode()
        return data.decode("utf-8", errors="replace")

    def _encode_chunk(self, chunk: str) -> tuple[int, ...]:
        symbols = list(chunk)
        while True:
            ranked = [
                (self.index[left + right], place)
                for place, (left, right) in enumerate(pairwise(symbols))
                if self._is_piece(left + right)
            ]
            if not ranked:
                break
            place = min(ranked)[1]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        return tuple(token for symbol in symbols for token in self._tokens(symbol))

    def _is_piece(self, text: str) -> bool:
        return self.index.get(text, 0) >= self.first_piece

    def _tokens(self, symbol: str) -> Iterator[int]:
        if self._is_piece(symbol):
            yield self.index[symbol]
        else:
            yield from (BYTE_OFFSET + byte for byte in symbol.encode())


def build(words: Counter[str], spaced: list[str], merges: int) -> Tokenizer:
    """Learn ``merges`` merges from counted words; ``spaced`` words get a spaced twin."""
    pieces = [*CONTROLS, *(f"<0x{byte:02X}>" for byte in range(256)), *MARKERS]
    pieces += [SPACE, *(chr(code) for code in range(33, 127))]
    learned = learn_merges(words, merges)
    pieces += JSON_PIECES
    pieces += learned
    whole = set(pieces)
    pieces += [mark + SPACE for mark in SPACED_MARKS]
    pieces += [word + SPACE for word in spaced if word in whole]
    return Tokenizer(list(dict.fromkeys(pieces)))


def learn_merges(words: Counter[str], merges: int) -> list[str]:
    """Return the pieces of plain byte-pair merging, most frequent pair first."""
    split = {word: list(word) for word in words}
    learned: list[str] = []
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in split.items():
            for pair in pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined = "".join(best)
        if joined not in learned:
            learned.append(joined)
        for symbols in split.values():
            _join(symbols, best)
    return learned


def _join(symbols: list[str], pair: tuple[str, str]) -> None:
    place = 0
    while place < len(symbols) - 1:
        if symbols[place] == pair[0] and symbols[place + 1] == pair[1]:
            symbols[place : place + 2] = ["".join(pair)]
        place += 1


def count_words(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Count all words, and apart from them those before a space."""
    words: Counter[str] = Counter()
    spaced: Counter[str] = Counter()
    for text in texts:
        words.update(_WORD.findall(text))
        spaced.update(re.findall(r"[A-Za-z]+(?= )", text))
    return words, spaced
