"""How a question is dressed: introductions, lower case, missing punctuation, stray words.

Phrasings come in two kinds, those seen in training and those held out for evaluation.
"""

from random import Random
from typing import Literal

Split = Literal["train", "held_out"]

INTRODUCTIONS = (
    "Tell me {clause}.",
    "Do you know {clause}?",
    "Can you tell me {clause}?",
    "Please tell me {clause}.",
    "I want to know {clause}.",
    "I need to know {clause}.",
    "I want you to tell me {clause}.",
    "Say {clause}.",
    "Do you remember {clause}?",
    "My question is {clause}.",
    "I wonder {clause}.",
    "Hi, do you know {clause}?",
    "Can you say {clause}?",
    "Help me: {clause}?",
    "Would you say {clause}?",
    "I forgot {clause}.",
    "You know {clause}?",
    "Will you tell me {clause}?",
    "Can you please tell me {clause}?",
    "Could you say {clause}?",
    "I would love to know {clause}.",
    "Do you by chance know {clause}?",
    "Hey, tell me {clause}.",
    "Maybe you know {clause}?",
    "Let me hear {clause}.",
    "Please say {clause}.",
    "Do you perhaps know {clause}?",
    "Could it be that you know {clause}?",
)
HELD_OUT_INTRODUCTIONS = (
    "I'd like to know {clause}.",
    "Could you tell me {clause}?",
    "Can anybody tell me {clause}?",
    "Do you happen to know {clause}?",
    "Let me know {clause}.",
    "Would you please tell me {clause}?",
    "Good morning, may I ask {clause}?",
)
OPENERS = (
    "Hi,",
    "Hello,",
    "Please,",
    "OK,",
    "Well,",
    "Now,",
    "And",
    "So,",
    "Hey,",
    "Also,",
    "Then",
)
CLOSERS = ("Please.", "Thanks.", "Thank you.", "please")


def introductions(split: Split) -> tuple[str, ...]:
    """Return the introductions that may stand before a clause."""
    return INTRODUCTIONS if split == "train" else HELD_OUT_INTRODUCTIONS


def dress(rng: Random, text: str, split: Split, fillers: tuple[str, ...] = ()) -> str:
    """Vary case and punctuation, and in training now and then add a stray word."""
    text = text[0].upper() + text[1:]
    if split == "train":
        text = _stray(rng, text, fillers)
    style = rng.random()
    if style < 0.14:
        text = text.lower()
    elif style < 0.24:
        text = text.rstrip("?.!")
    elif style < 0.40:
        text = text.lower().rstrip("?.!")
    return text


def _stray(rng: Random, text: str, fillers: tuple[str, ...]) -> str:
    chance = rng.random()
    if chance < 0.06:
        text = f"{rng.choice(OPENERS)} {text[0].lower()}{text[1:]}"
    elif chance < 0.10:
        text = f"{text} {rng.choice(CLOSERS)}"
    elif chance < 0.16 and fillers:
        text = f"{rng.choice(fillers).capitalize()}, {text[0].lower()}{text[1:]}"
    return text
