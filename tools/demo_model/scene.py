"""A conversation under construction, and the random material that fills it."""

import zlib
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tools.demo_model.phrasing import Split
from tools.demo_model.words import (
    ADJECTIVES,
    CITIES,
    FOREIGN_WORDS,
    HELD_OUT_CITIES,
    HELD_OUT_NAMES,
    NAMES,
    NOUNS,
    SMALL_WORDS,
    VERBS,
    listed,
)

Message = dict[str, Any]
DO_NOT_KNOW = "I am a small demonstration model and do not know that."

ONSETS = listed("b c d f g h j k l m n p r s t v w z br ch dr fl gr kl pr sh st th tr")
VOWELS = listed("a e i o u a e i o ai ea ou")
CODAS = ["", "", "", "n", "r", "l", "s", "m", "t", "k", "nd", "x"]


@dataclass
class Scene:
    """The state that the turns of one conversation share."""

    rng: Random
    split: Split = "train"
    messages: list[Message] = field(default_factory=list)
    tools: list[Message] = field(default_factory=list)
    needs: list[Any] = field(default_factory=list)
    name: str | None = None
    accepted: tuple[str, ...] = ()

    def serves(self, *functions: str) -> bool:
        """Tell whether a tool on offer answers to one of these needs."""
        return any(offer.need.functions[0] in functions for offer in self.needs)

    def exchange(self, question: str, *answers: str) -> None:
        """Append a question and one of its answers."""
        self.user(question)
        self.assistant(*answers)

    def user(self, content: str) -> None:
        """Append what the user says."""
        self.messages.append({"role": "user", "content": content})

    def assistant(self, *answers: str) -> None:
        """Append one of the answers and remember all that would be right."""
        self.accepted = answers
        self.messages.append({"role": "assistant", "content": self.rng.choice(answers)})


def is_held_out(text: str) -> bool:
    """Tell whether a generated combination is kept for evaluation (one in eight)."""
    return zlib.crc32(text.encode()) % 8 == 0


def invented_word(rng: Random, split: Split) -> str:
    """Return a word that no language has, of one to three syllables."""
    while True:
        syllables = rng.choice((1, 2, 2, 3))
        word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))
        if split == "train" and rng.random() < 0.5:
            word = "".join(_slice(rng) for _ in range(rng.choice((1, 2, 2, 3))))
        if is_held_out(word) == (split == "held_out"):
            return word


def _slice(rng: Random) -> str:
    """A few letters out of a known word: pieces of the vocabulary that few words hold."""
    source = rng.choice(rng.choice((NAMES, CITIES, NOUNS, VERBS, ADJECTIVES))).split()[0].lower()
    start = rng.randrange(max(1, len(source) - 1))
    return source[start : start + rng.randint(2, 5)]


def person(rng: Random, split: Split) -> str:
    """Return a first name; in evaluation one that training never shows."""
    if split == "held_out":
        return rng.choice(HELD_OUT_NAMES)
    if rng.random() < 0.4:
        return invented_word(rng, split).capitalize()
    return rng.choice(NAMES)


def city(rng: Random, split: Split) -> str:
    """Return the name of a city; in evaluation half of them are new."""
    if split == "held_out":
        return rng.choice(HELD_OUT_CITIES if rng.random() < 0.5 else CITIES)
    if rng.random() < 0.3:
        words = 1 if rng.random() < 0.6 else 2
        return " ".join(invented_word(rng, split).capitalize() for _ in range(words))
    return rng.choice(CITIES)


def word(rng: Random, split: Split) -> str:
    """Return a single word, now and then an invented, foreign or proper one."""
    chance = rng.random()
    if chance < 0.36:
        return rng.choice(NOUNS)
    if chance < 0.56:
        return rng.choice(ADJECTIVES)
    if chance < 0.70:
        return rng.choice(VERBS)
    if chance < 0.82:
        return rng.choice(SMALL_WORDS)
    if chance < 0.87:
        return rng.choice(FOREIGN_WORDS)
    if chance < 0.93:
        return rng.choice(NAMES if rng.random() < 0.5 else CITIES)
    return invented_word(rng, split)


def sentence(rng: Random) -> str:
    """Return a short grammatical phrase."""
    noun = f"{rng.choice(('the', 'a', 'my', 'your', 'this'))} {rng.choice(NOUNS)}"
    described = noun.replace(" ", f" {rng.choice(ADJECTIVES)} ", 1)
    place = f"{rng.choice(('in', 'on', 'near', 'under', 'behind'))} the {rng.choice(NOUNS)}"
    forms = (
        described,
        f"{noun} {rng.choice(VERBS)}",
        f"{described} {rng.choice(VERBS)} {place}",
        f"{noun} is {rng.choice(ADJECTIVES)}",
        f"I like {noun}",
        f"{described} and {rng.choice(NAMES)}",
    )
    return rng.choice(forms)


def phrase(rng: Random, split: Split, most: int = 8) -> str:
    """Return one to ``most`` words, at random or as a sentence."""
    if rng.random() < 0.3 and most >= 8:
        text = sentence(rng)
    else:
        text = " ".join(word(rng, split) for _ in range(rng.randint(1, most)))
    return text[0].upper() + text[1:] if rng.random() < 0.25 else text
