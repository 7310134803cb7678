"""What a model thinks before it answers, told apart from the answer.

The form is DeepSeek-R1's, which Qwen 3 and most others took over: `<think>`, lines of thought, `</think>`, an empty
line, the answer. Some templates write the opening tag into the prompt, so that an answer begins inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from ixmodal.models.tool_calls import Content

_OPENING = "<think>"
_CLOSING = "</think>"
MARKERS = (_OPENING, _CLOSING)
"""Texts that the parser must see, though in some vocabularies they are control tokens, which are no text."""
BEGINS_WITH_THOUGHT = rf"[ \t\r\n]*{_OPENING}(?s:.*)"
"""A regular expression of answers that begin with a thought."""
_SPACE = " \t\r\n"
_SPACES = r"[ \t\r\n]{0,8}"
"""What a grammar allows beside the tags."""
_MAX_SPACE = 256


@dataclass(frozen=True)
class Reasoning:
    """Text that the model thought before it answered."""

    text: str


class _Place(Enum):
    START = auto()
    AFTER_OPENING = auto()
    THOUGHT = auto()
    AFTER_CLOSING = auto()
    ANSWER = auto()


class ReasoningParser:
    """One answer: thoughts at its beginning, then content. Line breaks and spaces beside the tags belong to neither."""

    def __init__(self, *, starts_inside: bool = False) -> None:
        """`starts_inside`: the prompt ends with the opening tag. A model that repeats it is forgiven."""
        self._has_thought = starts_inside
        self._place = _Place.START
        self._text = ""

    @property
    def has_thought(self) -> bool:
        """Whether a thought has begun."""
        return self._has_thought

    @property
    def is_past(self) -> bool:
        """Whether the thought is closed, or there is none: what follows is the answer."""
        return self._place in (_Place.AFTER_CLOSING, _Place.ANSWER)

    def push(self, text: str) -> list[Reasoning | Content]:
        """More of the answer: what of it is certain, in order."""
        self._text += text
        return self._advance(ended=False)

    def flush(self) -> list[Reasoning | Content]:
        """The answer has ended: what was held back."""
        return self._advance(ended=True)

    def _advance(self, *, ended: bool) -> list[Reasoning | Content]:
        events: list[Reasoning | Content] = []
        if self._place is _Place.START:
            self._start(ended=ended)
        if self._place is _Place.AFTER_OPENING:
            self._skip_space(_Place.THOUGHT)
        if self._place is _Place.THOUGHT and (thought := self._take_thought(ended=ended)):
            events.append(Reasoning(thought))
        if self._place is _Place.AFTER_CLOSING:
            self._skip_space(_Place.ANSWER)
        if self._place is _Place.ANSWER and self._text:
            events.append(Content(self._text))
            self._text = ""
        return events

    def _start(self, *, ended: bool) -> None:
        begun = self._text.lstrip(_SPACE)
        may_open = len(self._text) - len(begun) <= _MAX_SPACE
        if may_open and begun.startswith(_OPENING):
            self._text = begun[len(_OPENING) :]
            self._has_thought = True
            self._place = _Place.AFTER_OPENING
        elif ended or not may_open or not _OPENING.startswith(begun):
            self._place = _Place.AFTER_OPENING if self._has_thought else _Place.ANSWER

    def _skip_space(self, then: _Place) -> None:
        self._text = self._text.lstrip(_SPACE)
        if self._text:
            self._place = then

    def _take_thought(self, *, ended: bool) -> str:
        """What is certain of the thought: not white space at its end, nor what may become the closing tag."""
        closing = self._text.find(_CLOSING)
        end = closing if closing >= 0 else len(self._text)
        if closing < 0 and not ended:
            end -= next((n for n in range(len(_CLOSING) - 1, 0, -1) if self._text.endswith(_CLOSING[:n])), 0)
        run = self._text[max(0, end - _MAX_SPACE) : end]
        end -= 0 if ended and closing < 0 else len(run) - len(run.rstrip(_SPACE))
        thought, self._text = self._text[:end], self._text[end:]
        if closing >= 0:
            self._text = self._text[self._text.index(_CLOSING) + len(_CLOSING) :]
            self._place = _Place.AFTER_CLOSING
        return thought


class ThoughtCounter:
    """Counts the tokens of an answer up to the one that closes its thought; none if there is no thought."""

    def __init__(self, *, starts_inside: bool) -> None:
        """`starts_inside`: as for `ReasoningParser`."""
        self._parser = ReasoningParser(starts_inside=starts_inside)
        self._seen = 0

    def push(self, piece: bytes) -> None:
        """The bytes of the next token."""
        if not self._parser.is_past:
            # Tags are ASCII: the bytes of other characters may read as anything.
            self._parser.push(piece.decode("latin-1"))
            self._seen += 1

    @property
    def tokens(self) -> int:
        """Tokens of the thought so far, its tags among them."""
        return self._seen if self._parser.has_thought else 0


def grammar_before(*, starts_inside: bool, control_ids: Mapping[str, int]) -> str:
    """A llguidance grammar in Lark syntax: a thought, then `@answer`, another grammar of the same list.

    A thought that the prompt has opened must be closed; without that it may be left out.
    """
    opened, closed = (f"<[{control_ids[tag]}]>" if tag in control_ids else "" for tag in MARKERS)
    lines = [
        f"start: {'(opening)? closing' if starts_inside else '(opening closing)?'} @answer",
        f"opening: /{_SPACES}{_OPENING}/" + (f" | SPACE? {opened}" if opened else ""),
        "closing: (closing_text" + (f" | TEXT {closed}" if closed else "") + ") SPACE?",
        r"closing_text[lazy]: /(?s:.*)<\/think>/",
        "TEXT: /(?s:.*)/",
        f"SPACE: /{_SPACES}/",
    ]
    return "\n".join(lines) + "\n"


def thinks(chat_template: str | None) -> bool:
    """Whether a model with this chat template thinks before it answers."""
    return any(tag in (chat_template or "") for tag in (_OPENING, _CLOSING))


def ends_inside(prompt: str) -> bool:
    """Whether a rendered prompt ends with an open thought, so that the answer `starts_inside` it."""
    return prompt.rstrip(_SPACE).endswith(_OPENING)
