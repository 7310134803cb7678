"""The model that ships in the package is small, loadable and in step with its sources."""

from pathlib import Path

import ixmodal
from ixmodal.models.chat_template import ChatTemplate
from ixmodal.models.inspect import inspect

DEMO = Path(ixmodal.__file__).parent / "models" / "demo"
TEMPLATE = Path(__file__).parents[2] / "tools" / "demo_model" / "chat_template.jinja"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


def test_it_is_small_and_has_a_card() -> None:
    assert (DEMO / "demo.gguf").stat().st_size <= 6_000_000
    assert "Apache-2.0" in (DEMO / "CARD.md").read_text(encoding="utf-8")


def test_it_says_what_it_is() -> None:
    model = inspect(DEMO / "demo.gguf")
    assert model.name == "ixmodal demo"
    assert model.context_length == 1024
    assert model.vocabulary.text_of(model.vocabulary.eos_id) == "<|im_end|>"
    assert model.vocabulary.add_bos


def test_its_template_is_the_one_it_was_trained_with() -> None:
    assert inspect(DEMO / "demo.gguf").chat_template == TEMPLATE.read_text(encoding="utf-8")


def test_its_template_writes_tools_calls_and_results() -> None:
    model = inspect(DEMO / "demo.gguf")
    assert model.chat_template is not None
    template = ChatTemplate(model.chat_template, model.vocabulary)
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    text = "".join(piece for piece in template.render(messages, [TOOL]) if isinstance(piece, str))
    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in text
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>' in text
    assert "user\n<tool_response>\nsunny\n</tool_response>" in text
    assert text.endswith("assistant\n")
