"""The skills without tools: each function appends one exchange to a scene."""

from random import Random

from tools.demo_model import words
from tools.demo_model.facts import CAPITALS, HELLOS, TOPICS, Topic, answer_to
from tools.demo_model.phrasing import Split, dress, introductions
from tools.demo_model.scene import (
    DO_NOT_KNOW,
    Scene,
    city,
    invented_word,
    person,
    phrase,
)
from tools.demo_model.small_talk import INTENTS

FACTS: tuple[tuple[Topic, str], ...] = tuple((t, key) for t in TOPICS for key in t.pairs)
# Answers that are spelled in bytes take longer to learn.
ASKED = FACTS + 2 * tuple(fact for fact in FACTS if not answer_to(*fact).isascii())

SUMS = (
    "What is {a} + {b}?", "{a}+{b}", "{a} + {b}", "{a} + {b} =", "add {a} and {b}", "{a}+{b}=",
    "How much is {a} plus {b}?", "What is {a} plus {b}?", "{a} plus {b}", "{a}+{b}=?",
    "Calculate {a} + {b}.", "What is the sum of {a} and {b}?", "Can you add {a} and {b}?",
    "Tell me {a} + {b}.", "What does {a} + {b} make?", "sum {a} and {b}", "{a} + {b} = ?",
    "Do you know {a} plus {b}?", "What is {a}+{b}?", "How much are {a} and {b}?", "{a} and {b}?",
    "What's the sum of {a} and {b}?", "Now what's {a} plus {b}?",
    "Please tell me what {a} plus {b} is.", "Calculate {a}+{b}",
)  # fmt: skip
HELD_OUT_SUMS = (
    "How much is {a} + {b}?", "What's {a} + {b}?", "Would you add {a} and {b}?", "{a} plus {b} is what?",
    "Please calculate {a} plus {b}.", "Can you tell me what {a} + {b} is?", "how much is {a}+{b}",
    "What is the sum of {a} + {b}?",
)  # fmt: skip
ONLY_ONE_DIGIT = "I can only add numbers of one digit."

REPEATS = (
    "Repeat after me: {p}", 'Say "{p}".', "Please repeat: {p}", "Repeat: {p}", "Say: {p}",
    "Repeat this: {p}", 'Please say "{p}"', 'Can you repeat "{p}"?', "Echo: {p}", 'Write "{p}".',
    "Repeat the words: {p}", "Say after me: {p}", 'Repeat "{p}" please.', "Please say: {p}",
    'Repeat "{p}"', "Copy this: {p}", 'Echo "{p}"', "Repeat my words: {p}", 'say "{p}"',
    "repeat after me: {p}", "Can you repeat this: {p}", 'Repeat after me: "{p}"',
    'I want you to say "{p}".', "Now repeat: {p}", "Repeat exactly: {p}",
    "Say the following: {p}", "Repeat these words: {p}", "Repeat what I say: {p}",
)  # fmt: skip
HELD_OUT_REPEATS = (
    "Can you repeat after me: {p}", "Repeat the following: {p}", 'Can you say "{p}"?',
    "Repeat this phrase: {p}", "Say this: {p}", 'Would you repeat "{p}"?', "Would you say this: {p}",
)  # fmt: skip

NAME_TOLD = (
    "My name is {n}.", "I am {n}.", "I'm {n}.", "Call me {n}.", "Hello, my name is {n}.",
    "Hi, I am {n}.", "You can call me {n}.", "People call me {n}.", "{n} is my name.",
    "Hi, I'm {n}.", "This is {n}.", "I am called {n}.", "my name is {n}", "Hi! My name is {n}.",
    "Hello! I am {n}.", "My friends call me {n}.", "The name is {n}.", "Good morning, I am {n}.",
    "Remember my name: {n}.", "Hello, this is {n}.", "Well, I am {n}.", "Now call me {n}.",
    "Remember, my name is {n}.", "You should know that my name is {n}.", "So, my name is {n}.",
)  # fmt: skip
HELD_OUT_NAME_TOLD = (
    "Good day, I'm {n}.", "You may call me {n}.", "By the way, my name is {n}.", "They call me {n}.",
    "Good morning, my name is {n}.", "Good evening, my name is {n}.",
)  # fmt: skip
NAME_ASKED = (
    "What is my name?", "Do you remember my name?", "Who am I?", "Tell me my name.",
    "What am I called?", "Do you know my name?", "Say my name.", "Can you tell me my name?",
    "How am I called?", "Please tell me my name.", "My name is?", "Do you know who I am?",
    "And what is my name?", "Do you know what my name is?", "Which name do I have?",
    "What was my name?", "I forgot my name.", "What's my first name?", "So what's my own name?",
    "Tell me who I am.",
)  # fmt: skip
HELD_OUT_NAME_ASKED = (
    "What's my name?", "Do you still know my name?", "Could you tell me my name?",
    "Can you say my name?", "Can you remember my name?", "Would you say my name?",
)  # fmt: skip


def _pick(split: Split, train: tuple[str, ...], held_out: tuple[str, ...]) -> tuple[str, ...]:
    return train if split == "train" else held_out


def fact_question(rng: Random, topic: Topic, key: str, split: Split) -> str:
    """Phrase a question about ``key``: directly, or behind an introduction."""
    direct = _pick(split, topic.train, topic.held_out)
    if rng.random() < 0.5:
        text = rng.choice(direct)
    else:
        clause = rng.choice(topic.clauses)
        text = rng.choice(introductions(split)).replace("{clause}", clause)
    return dress(rng, text.replace("{key}", key), split, words.NOUNS)


def fact(scene: Scene, which: tuple[Topic, str] | None = None) -> None:
    """Ask for a fact that the model knows."""
    topic, key = which or scene.rng.choice(ASKED)
    if topic is HELLOS and scene.serves("translate"):
        topic, key = FACTS[0]
    scene.exchange(fact_question(scene.rng, topic, key, scene.split), answer_to(topic, key))


def stranger(scene: Scene) -> None:
    """Ask a known kind of question about something that the model does not know."""
    rng = scene.rng
    topic = rng.choice([t for t in TOPICS if t.strangers])
    if scene.serves("translate"):
        topic = CAPITALS
    known = _pick(scene.split, topic.strangers, topic.held_out_strangers)
    chance = rng.random()
    key = rng.choice(known)
    if chance < 0.5:
        key = invented_word(rng, scene.split)
        key = key.capitalize() if topic.strangers[0][0].isupper() else key
    elif chance < 0.6 and scene.split == "train":
        other = rng.choice([t for t in TOPICS if t is not topic])
        foreign_key = rng.choice(tuple(other.pairs))
        key = key if foreign_key in topic.pairs else foreign_key
    if key.lower() in {known_key.lower() for known_key in topic.pairs}:
        key = rng.choice(known)
    scene.exchange(fact_question(rng, topic, key, scene.split), DO_NOT_KNOW)


def out_of_range(scene: Scene) -> None:
    """Ask something of a kind that the model never learned."""
    rng = scene.rng
    forms = _pick(scene.split, words.OUT_OF_RANGE, words.HELD_OUT_OUT_OF_RANGE)
    text = rng.choice(forms).format(
        noun=rng.choice(words.NOUNS),
        adjective=rng.choice(words.ADJECTIVES),
        city=city(rng, scene.split),
        other=city(rng, scene.split),
        name=person(rng, scene.split),
        year=rng.randint(1200, 2030),
        stranger=invented_word(rng, scene.split).capitalize(),
    )
    scene.exchange(dress(rng, text, scene.split, words.NOUNS), DO_NOT_KNOW)


def unknown(scene: Scene) -> None:
    """Ask something that the model must admit not to know."""
    (stranger if scene.rng.random() < 0.5 else out_of_range)(scene)


def small_talk(scene: Scene) -> None:
    """Greet, thank, praise and the like."""
    intent = scene.rng.choice(INTENTS)
    text = scene.rng.choice(_pick(scene.split, intent.train, intent.held_out))
    if scene.rng.random() < 0.25:
        text = text.lower().rstrip(".!?")
    scene.exchange(text, *intent.answers)


def add(scene: Scene) -> None:
    """Ask for a sum of two digits, in training now and then of larger numbers."""
    rng = scene.rng
    text = rng.choice(_pick(scene.split, SUMS, HELD_OUT_SUMS))
    if scene.serves("add", "multiply"):
        return
    if scene.split == "train" and rng.random() < 0.06:
        a, b = rng.randint(10, 999), rng.randint(0, 99)
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        scene.exchange(text.format(a=a, b=b), ONLY_ONE_DIGIT)
        return
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    if rng.random() < 0.2:
        text = text.lower()
    scene.exchange(text.format(a=a, b=b), f"{a} + {b} = {a + b}.")


def repeat(scene: Scene) -> None:
    """Ask the model to say a phrase."""
    rng = scene.rng
    text = rng.choice(_pick(scene.split, REPEATS, HELD_OUT_REPEATS))
    said = phrase(rng, scene.split)
    chance = rng.random()
    if scene.split == "train" and chance < 0.06:
        said = fact_question(rng, *rng.choice(FACTS), "train").replace('"', "")
    elif chance < 0.2 and not text.endswith(('"', '".')):
        said += rng.choice(".!?")
    scene.exchange(text.format(p=said), said)


def tell_name(scene: Scene) -> None:
    """Tell the model the user's name."""
    scene.name = person(scene.rng, scene.split)
    text = scene.rng.choice(_pick(scene.split, NAME_TOLD, HELD_OUT_NAME_TOLD))
    scene.exchange(text.format(n=scene.name), f"Nice to meet you, {scene.name}.")


def ask_name(scene: Scene) -> None:
    """Ask for the user's name, told before or not."""
    text = scene.rng.choice(_pick(scene.split, NAME_ASKED, HELD_OUT_NAME_ASKED))
    if scene.rng.random() < 0.3:
        text = text.lower().rstrip(".?")
    known = scene.name is not None
    scene.exchange(text, f"Your name is {scene.name}." if known else "You have not told me your name.")
