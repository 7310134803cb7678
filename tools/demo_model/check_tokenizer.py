"""Check that the runtime encodes alike: ``python -m tools.demo_model.check_tokenizer``.

Thousands of generated fragments and of random texts, with emoji and CJK among them.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.demo_model.conversations import converse
from tools.demo_model.native import NativeModel
from tools.demo_model.prompts import MODEL_PATH, render
from tools.demo_model.words import listed

ODD = "😀🚀你好世界こんにちはéãüï नमस्ते\n\t  \"'{}[]<>/|_-=+*0123456789.,:;!?▁ABCxyz"


def fragments(rng: Random, count: int) -> Iterator[str]:
    """Yield what the template produces between control tokens."""
    for _ in range(count):
        conversation = converse(rng)
        text = render(conversation.messages, conversation.tools)
        yield from (part for part in re.split(r"<\|im_\w+\|>", text) if part)


def oddities(rng: Random, count: int) -> Iterator[str]:
    """Yield random texts, with words spliced in."""
    words = listed("the capital of France island theatre <|im_end|> <s> </s> <0x41> getWeather")
    for _ in range(count):
        parts = [rng.choice((rng.choice(ODD), rng.choice(words))) for _ in range(rng.randint(1, 30))]
        yield "".join(parts)


def main() -> None:
    """Run the comparison and fail on the first difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_PATH)
    parser.add_argument("--count", type=int, default=3000)
    arguments = parser.parse_args()
    model = NativeModel(arguments.model)
    rng = Random(7)
    checked = 0
    for generate in (fragments, oddities):
        for text in generate(rng, arguments.count):
            ours, theirs = model.tokenizer.encode(text), model.tokenize(text)
            if ours != theirs:
                raise SystemExit(f"{text!r}\n{ours}\n{theirs}")
            checked += 1
    print(f"{checked} texts encoded alike")


if __name__ == "__main__":
    main()
