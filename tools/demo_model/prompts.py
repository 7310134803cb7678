"""From conversations to token ids, the way the runtime does it.

The chat template is rendered, the text is cut at the control tokens, and each fragment is
encoded on its own. The model is trained on what follows ``assistant`` and its newline.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from tools.demo_model.scene import Message
from tools.demo_model.tokenizer import Tokenizer

MODEL_PATH = Path("ixmodal/models/demo/demo.gguf")
TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")
START, END = "<|im_start|>", "<|im_end|>"
ANSWER = "assistant\n"
_CONTROL = re.compile(f"({re.escape(START)}|{re.escape(END)})")


@dataclass(frozen=True)
class Example:
    """Token ids, and for each whether the model is trained to produce it."""

    ids: list[int]
    trained: list[bool]


def load_template(text: str | None = None) -> jinja2.Template:
    """Compile the chat template with the runtime's ``tojson``."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(text or TEMPLATE_PATH.read_text(encoding="utf-8"))


_TEMPLATE = load_template()


def render(messages: list[Message], tools: list[Message], *, open_answer: bool = False) -> str:
    """Render a conversation; ``open_answer`` leaves the assistant's turn to be written."""
    variables: dict[str, Any] = {"messages": messages, "tools": tools or None}
    return _TEMPLATE.render(**variables, add_generation_prompt=open_answer)


def encode_example(tokenizer: Tokenizer, text: str) -> Example:
    """Encode a rendered conversation and mark the assistant's own tokens."""
    ids, trained = [tokenizer.bos], [False]
    answering = False
    for part in _CONTROL.split(text):
        if not part:
            continue
        if part == START:
            new, marks = [tokenizer.im_start], [False]
        elif part == END:
            new, marks = [tokenizer.im_end], [answering]
            answering = False
        else:
            new = tokenizer.encode(part)
            answering = part.startswith(ANSWER)
            given = len(tokenizer.encode(ANSWER)) if answering else len(new)
            marks = [place >= given for place in range(len(new))]
        ids += new
        trained += marks
    return Example(ids, trained)
