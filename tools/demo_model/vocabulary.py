"""Build the vocabulary from sample conversations: ``python -m tools.demo_model.vocabulary``."""

import argparse
from collections import Counter
from pathlib import Path
from random import Random

from tools.demo_model import words
from tools.demo_model.conversations import converse
from tools.demo_model.facts import TOPICS, answer_to
from tools.demo_model.prompts import render
from tools.demo_model.tokenizer import Tokenizer, build, count_words

DEFAULT_PATH = Path("build/demo_model/vocabulary.json")
MERGES = 1650
SPACED_WORDS = 800
RAREST = 5


def copied_words() -> set[str]:
    """Return the names that calls and answers copy alone, which therefore get no spaced twin."""
    return {part for name in (*words.NAMES, *words.CITIES) for part in name.split()}


def make(seed: int, conversations: int = 12_000) -> Tokenizer:
    """Return the vocabulary that a seed gives."""
    rng = Random(f"vocabulary:{seed}")
    texts = []
    for _ in range(conversations):
        conversation = converse(rng)
        texts.append(render(conversation.messages, conversation.tools))
    counted, before_space = count_words(texts)
    # A word of a fact deserves a token even where the sample shows it seldom.
    facts = " ".join(f"{key} {answer_to(t, key)}" for t in TOPICS for key in t.pairs)
    names = " ".join((*words.NAMES, *words.CITIES, *words.NOUNS))
    for word, times in count_words([facts, facts.lower(), names])[0].items():
        counted[word] += 100 * times
    # Rarer words are mostly invented ones.
    flattened = Counter({w: round(10 * n**0.4) for w, n in counted.items() if n >= RAREST})
    copied = copied_words()
    spaced = [word for word, _ in before_space.most_common() if word not in copied]
    return build(flattened, spaced[:SPACED_WORDS], MERGES)


def main() -> None:
    """Write the vocabulary file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_PATH)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = make(arguments.seed)
    tokenizer.save(arguments.out)
    print(f"{len(tokenizer)} tokens -> {arguments.out}")


if __name__ == "__main__":
    main()
