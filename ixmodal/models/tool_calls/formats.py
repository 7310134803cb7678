"""The formats in which models are told of tools and call them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from ixmodal.models.tool_calls import frames
from ixmodal.models.tool_calls.calls import SPACES, UP_TO_NAME
from ixmodal.models.tool_calls.grammar import Rules, literal, repeat
from ixmodal.models.tool_calls.parser import ToolCallParser
from ixmodal.models.tool_calls.prompts import (
    Message,
    Tool,
    describe,
    instruct,
    normalise,
    one_call_a_message,
    with_short_ids,
)

_OTHER_CALLS = re.compile(r"<function=|<arg_key>")
"""What stands between `<tool_call>` tags that have no JSON in them: Qwen3-Coder's and GLM's."""
_REFUSED_SYSTEM = re.compile(r"system role not supported|only user and assistant roles are supported!", re.IGNORECASE)
_NO_IDS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class ToolFormat:
    """How one family of models is told of tools, how its calls are read and how one is forced."""

    name: str
    """The family's name, for people."""
    markers: tuple[str, ...]
    """Texts that the parser must see, though in some vocabularies they are control tokens, which are no text."""
    frame: frames.Frame
    """How calls are read."""
    fit: Callable[[list[Message], list[Tool]], tuple[list[Message], list[Tool]]]
    """Makes a normalised conversation fit for the family's templates."""
    add_rules: Callable[[Rules], None]
    """Writes the grammar."""

    def adapt(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Message], list[Tool]]:
        """What to render with the chat template, from messages and tools as in the OpenAI API, content as text."""
        return self.fit(normalise(messages), describe(tools))

    def parser(self, names: Iterable[str], *, exact: bool = False) -> ToolCallParser:
        """A parser for one answer, in which tools of these names can be called.

        `exact`: without a marker, only what `free_grammar` takes for a call is one.
        """
        return ToolCallParser(self.frame, names, exact=exact)

    def grammar(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        name: str | None = None,
        parallel: bool = False,
        control_ids: Mapping[str, int] = _NO_IDS,
    ) -> str:
        """A llguidance grammar in Lark syntax that forces a call, or several where they may be `parallel`.

        Args:
            tools: as in the OpenAI API, functions all.
            name: the only one to call.
            parallel: whether more calls may follow the first.
            control_ids: ids of control tokens by their text, so that markers among them are written as such.

        Raises:
            ValueError: there is no tool, or none of this name.
        """
        rules = Rules(tools, name, control_ids, parallel=parallel)
        self.add_rules(rules)
        return rules.text()

    def free_grammar(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        parallel: bool = True,
        control_ids: Mapping[str, int] = _NO_IDS,
        but: str | None = None,
    ) -> str:
        """A grammar of any text, in which whatever begins like a call is one.

        Arguments of strict tools (`strict` of the function) conform to their schema, those of others are objects. The
        marker that begins a call begins one as text too, even where it is a control token: parsers see no difference.

        Args:
            tools: as in the OpenAI API, functions all.
            parallel: whether there may be several calls; otherwise the first ends the answer.
            control_ids: as for `grammar`.
            but: a regular expression of what the text can't be.
        """
        rules = Rules(tools, None, control_ids, parallel=parallel, free=True, but=but)
        self.add_rules(rules)
        return rules.text()


def _pass(messages: list[Message], tools: list[Tool]) -> tuple[list[Message], list[Tool]]:
    return messages, tools


def _fit_generic(messages: list[Message], tools: list[Tool], *, system: bool) -> tuple[list[Message], list[Tool]]:
    return instruct(messages, tools, system=system), []


def _fit_mistral(messages: list[Message], tools: list[Tool]) -> tuple[list[Message], list[Tool]]:
    return with_short_ids(messages), tools


def _fit_llama(messages: list[Message], tools: list[Tool]) -> tuple[list[Message], list[Tool]]:
    return one_call_a_message(messages), tools


def _add_hermes_rules(rules: Rules) -> None:
    rules.add_start("tagged", r'"\n"')
    rules.add("tagged", rf'{rules.opening("<tool_call>")} "\n" call "\n" {rules.marker("</tool_call>")}')
    rules.add_objects("arguments")


def _add_array_rules(rules: Rules) -> None:
    calls = repeat("call", '", " call', parallel=rules.parallel)
    rules.add_start("array")
    rules.add("array", f'{rules.opening("[TOOL_CALLS]")} (" ")? "[" {calls} "]"')
    rules.add_objects("arguments")


def _add_named_rules(rules: Rules, *, with_id: bool) -> None:
    identity = f"{rules.marker('[CALL_ID]')} /[a-zA-Z0-9]{{9}}/ " if with_id else ""
    before_arguments = f"{identity}{rules.marker('[ARGS]')}"
    rules.add_start("marked")
    rules.add("marked", f"{rules.opening('[TOOL_CALLS]')} call")
    rules.add_calls(lambda name: f"{literal(name)} {before_arguments}")


def _add_llama_rules(rules: Rules) -> None:
    series = repeat("call", '"; " call', parallel=rules.parallel)
    if not rules.free:
        rules.add("start", series)
        rules.add_objects("parameters")
        return
    # Calls are the whole answer, and it is one from its first words on: so these can't be text.
    names = "|".join(map(re.escape, rules.names))
    rules.keep_from_text(rf'{SPACES}{UP_TO_NAME}"({names})"(?s:.*)')
    rules.add("start", f"(opening)? {series} | TEXT")
    rules.opening("<|python_tag|>")
    begin, go_on = SPACES + UP_TO_NAME, rf'{SPACES},{SPACES}"parameters"{SPACES}:{SPACES}'
    rules.add_calls(lambda name: rf'/{begin}"{re.escape(name)}"{go_on}/', literal("}"))


HERMES = ToolFormat("hermes", ("<tool_call>", "</tool_call>"), frames.HERMES, _pass, _add_hermes_rules)
"""`<tool_call>` tags around JSON objects: Hermes 2 Pro and later, Qwen 2.5 and 3.

Source: Nous Research's Hermes function-calling repository, and the chat templates in these models' files.
"""
GENERIC = replace(HERMES, name="generic", fit=partial(_fit_generic, system=True))
"""The form of Hermes for templates that know no tools: the conversation itself says how to call them."""
MISTRAL = ToolFormat("mistral", ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"), frames.MISTRAL, _fit_mistral, _add_array_rules)
"""`[TOOL_CALLS]` and an array of objects, or, in templates of newer models, a name and arguments for each call.

Source: mistral-common's instruct tokenizers (arrays up to v7, names from v11 on), and these models' chat templates.
"""
LLAMA = ToolFormat("llama3", ("<|python_tag|>",), frames.LLAMA, _fit_llama, _add_llama_rules)
"""`{"name": …, "parameters": …}` as the whole answer: Llama 3.1, 3.2 and 3.3.

Source: Meta's prompt format documents for these models (JSON-based tool calling), and their chat templates.
"""


def choose_format(chat_template: str | None) -> ToolFormat:
    """The format of a model with this chat template, by what the template writes for calls."""
    template = chat_template or ""
    if "tools" in template:
        if "<tool_call>" in template and not _OTHER_CALLS.search(template):
            return HERMES
        if "[TOOL_CALLS]" in template:
            return _choose_mistral(template)
        if "<|python_tag|>" in template or ("ipython" in template and '"parameters"' in template):
            return LLAMA
    return replace(GENERIC, fit=partial(_fit_generic, system=False)) if _REFUSED_SYSTEM.search(template) else GENERIC


def _choose_mistral(template: str) -> ToolFormat:
    if "[ARGS]" not in template:
        return MISTRAL
    return replace(MISTRAL, add_rules=partial(_add_named_rules, with_id="[CALL_ID]" in template))
