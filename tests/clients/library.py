"""Log-likelihoods straight from the ctransformers library, with nothing of ixmodal's: for a process of its own.

It reads {"model": path, "pairs": [[context, continuation], ...], "by": "tokens" or "text"} as JSON from its input and
writes [[log-likelihood of the continuation, whether each of its tokens is the likeliest], ...].
"""

import json
import math
import sys
from typing import Any

from ctransformers import LLM, Config


def split_tokens(llm: Any, context: str, continuation: str) -> tuple[list[int], int]:
    """As the harness's `local-completions` does: both tokenized, and the context alone, which says how much is its."""
    first = llm.tokenize(context, add_bos_token=False)
    both = llm.tokenize(context + continuation, add_bos_token=False)
    return first + both[len(first) :], len(first)


def split_text(llm: Any, context: str, continuation: str) -> tuple[list[int], int]:
    """As its `gguf` does: the continuation's tokens are those that begin where the context ends, or later."""
    ids = llm.tokenize(context + continuation, add_bos_token=True)
    offset, at = -1, 1  # behind the BOS; the space that SentencePiece puts in front is not in the text
    while offset < len(context):
        offset += len(llm.detokenize([ids[at]], decode=False))
        at += 1
    return ids, at


def score(llm: Any, ids: list[int], start: int) -> tuple[float, bool]:
    """Log-likelihood of the tokens from `start` on given those before, and whether each is the likeliest."""
    llm.reset()
    total, greedy = 0.0, True
    for at, id in enumerate(ids):
        if at >= start:
            logits = list(llm.logits)
            highest = max(logits)
            total += logits[id] - highest - math.log(sum(math.exp(logit - highest) for logit in logits))
            greedy = greedy and logits[id] == highest
        llm.eval([id])
    return total, greedy


def main() -> None:
    asked = json.load(sys.stdin)
    llm = LLM(asked["model"], model_type="llama", config=Config(threads=1))
    split = {"tokens": split_tokens, "text": split_text}[asked["by"]]
    json.dump([score(llm, *split(llm, *pair)) for pair in asked["pairs"]], sys.stdout)


if __name__ == "__main__":
    main()
