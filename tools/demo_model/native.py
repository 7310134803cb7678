"""The exported model run straight by ctransformers, without the server."""

import ctypes
from pathlib import Path

import numpy as np
from ctransformers.llm import LLM, Config  # type: ignore[import-untyped]  # ctransformers has no types
from gguf import GGUFReader

from tools.demo_model.prompts import encode_example, load_template
from tools.demo_model.scene import Message
from tools.demo_model.tokenizer import Tokenizer


class NativeModel:
    """Greedy decoding of a GGUF file."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        fields = GGUFReader(path).fields
        self.tokenizer = Tokenizer(fields["tokenizer.ggml.tokens"].contents())
        self.context = int(fields["llama.context_length"].contents())
        self.template = load_template(fields["tokenizer.chat_template"].contents())
        self.threads = threads
        config = Config(context_length=self.context, batch_size=64, threads=threads)
        self.llm = LLM(str(path), "llama", config=config, lib="avx2")

    def tokenize(self, fragment: str) -> list[int]:
        """Return the library's own ids; its buffer must hold one for each byte."""
        data = fragment.encode()
        buffer = (ctypes.c_int * (len(data) + 4))()
        count = self.llm.ctransformers_llm_tokenize(data, False, buffer)
        return list(buffer[:count])

    def prompt(self, messages: list[Message], tools: list[Message]) -> list[int]:
        """Return the ids of a chat request."""
        text = self.template.render(messages=messages, tools=tools or None, add_generation_prompt=True)
        return encode_example(self.tokenizer, text).ids

    def answer(self, messages: list[Message], tools: list[Message], most: int = 120) -> str:
        """Answer a chat request at temperature 0; without an end the answer ends in '…'."""
        ids = self.prompt(messages, tools)
        self.llm.reset()
        self.llm.eval(ids)
        written: list[int] = []
        for _ in range(min(most, self.context - len(ids))):
            token = int(np.argmax(self.llm.logits))
            if token == self.tokenizer.im_end:
                return self.tokenizer.decode(written)
            written.append(token)
            self.llm.eval([token])
        return self.tokenizer.decode(written) + "…"
