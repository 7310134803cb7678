"""The bare library's decode loop: `python -m bench.bare_loop MODEL THREADS TOKENS PROMPT` prints tokens a second."""

from __future__ import annotations

import sys
import time

from ctransformers.llm import LLM, Config


def main() -> None:
    """Evaluate the prompt, then sample and evaluate TOKENS times, timing from the first token to the last."""
    path, threads, tokens, prompt = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    config = Config(context_length=2048, batch_size=64, threads=threads)
    llm = LLM(path, "gguf", config=config, lib="avx2")
    llm.eval(llm.tokenize(prompt))
    token = llm.sample(top_k=1, repetition_penalty=1.0)
    began = time.perf_counter()
    for _ in range(tokens - 1):
        llm.eval([token])
        token = llm.sample(top_k=1, repetition_penalty=1.0)
    print((tokens - 1) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
