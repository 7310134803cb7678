"""Input items: what a request may hold, and the shape in which they are kept and listed."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from ixmodal.server.errors import field_error
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.shown import ClosedDict, NullIsUnset, shown_as

Id = Annotated[str, Field(min_length=1, max_length=128)]
Status = Literal["in_progress", "completed", "incomplete"]
Item = dict[str, Any]
"""An item as it is kept and sent: with id, type and status."""

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_PART_KEYS = {
    "input_text": ({"text"}, {"prompt_cache_breakpoint"}),
    "output_text": ({"text"}, {"annotations", "logprobs", "parsed"}),
    "refusal": ({"refusal"}, set[str]()),
}
_ASSISTANT_PARTS = ("output_text", "refusal", "input_text")


def new_id(prefix: str) -> str:
    """A new id, for example `msg_…`."""
    return f"{prefix}_{uuid.uuid4().hex}"


def output_text(text: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def _parts(content: Any, allowed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Content as parts of text. Raises `ValueError` for other kinds (images, audio, files)."""
    if isinstance(content, str):
        return [{"type": allowed[0], "text": content}]
    if not isinstance(content, list):
        raise ValueError("it should be a string or a list of parts")  # noqa: TRY004  # pydantic wants ValueError
    return [_part(part, allowed) for part in content]


def _part(part: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in allowed:
        raise ValueError(f"a content part has the type {kind!r:.40}; here are read: {', '.join(allowed)}")
    given = {name for name, value in part.items() if value is not None} - {"type"}
    needed, optional = _PART_KEYS[kind]
    if unknown := sorted(given - needed - optional):
        raise ValueError(f"a part of type {kind!r} has no key {unknown[0]!r:.40}")
    (name,) = needed
    if not isinstance(part.get(name), str):
        raise ValueError(f"a part of type {kind!r} needs the text {name!r}")  # noqa: TRY004  # see above
    return {"type": kind, name: part[name]}


def _joined(output: Any) -> Any:
    return "".join(part["text"] for part in _parts(output, ("input_text",))) if isinstance(output, list) else output


class InputText(ClosedDict):
    """A part of a message: a text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: NotRequired[Any]


class OutputText(ClosedDict):
    """A part of an assistant's message: a text. What came along with it before is not read."""

    type: Literal["output_text"]
    text: str
    annotations: NotRequired[Any]
    logprobs: NotRequired[Any]
    parsed: NotRequired[Any]


class OutputRefusal(ClosedDict):
    """A part of an assistant's message: a refusal."""

    type: Literal["refusal"]
    refusal: str


InputPart = InputText | OutputText | OutputRefusal


class _ItemModel(NullIsUnset):
    id: Id | None = None


class MessageItem(_ItemModel):
    """A message; its content as parts."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[list[dict[str, Any]], shown_as(str | list[InputPart])]
    status: Status = "completed"
    phase: Literal["commentary", "final_answer"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _unify(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("content") is None:
            return data
        of_assistant = data.get("role") == "assistant"
        try:
            parts = _parts(data["content"], _ASSISTANT_PARTS if of_assistant else ("input_text",))
        except ValueError as error:
            raise field_error("content", str(error)) from None
        if of_assistant:
            parts = [output_text(part["text"]) if "text" in part else part for part in parts]
        return {**data, "content": parts}


class FunctionCallItem(_ItemModel):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: Id
    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: str
    status: Status = "completed"
    caller: dict[Literal["type"], Literal["direct"]] | None = None


class FunctionCallOutputItem(_ItemModel):
    """What a called function answered; parts are joined to one text."""

    type: Literal["function_call_output"]
    call_id: Id
    output: Annotated[str, BeforeValidator(_joined, json_schema_input_type=str | list[InputText])]
    name: str | None = None
    status: Status = "completed"
    caller: dict[Literal["type"], Literal["direct"]] | None = None


class ThoughtText(Body):
    """A text of a reasoning item, or of its summary."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningItem(_ItemModel):
    """What the model thought."""

    type: Literal["reasoning"]
    summary: list[ThoughtText] = Field(default_factory=list)
    content: list[ThoughtText] | None = None
    encrypted_content: str | None = None
    status: Status = "completed"


class ReferenceItem(_ItemModel):
    """An item of a stored response's output, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: Id


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind is None and isinstance(value, dict):
        kind = "message" if "role" in value or "id" not in value else "item_reference"
    return f"<{kind}>"


def _known(items: Any, info: ValidationInfo) -> Any:
    """A string as one message; items of a type that is not read here are refused by name."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    for index, item in enumerate(items if isinstance(items, list) else ()):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind is not None and kind not in (*_PREFIXES, "item_reference"):
            raise PydanticCustomError(
                "unsupported_parameter",
                "'{param}' is {kind}: this server reads messages, function calls, their outputs, reasoning and "
                "references to items",
                {"param": f"{info.field_name}[{index}].type", "kind": repr(kind)[:60]},
            )
    return items


# In the path of an error, a name that is no identifier is left out.
_AnyItem = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[FunctionCallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ReferenceItem, Tag("<item_reference>")],
    Discriminator(_tag),
]
InputItems = Annotated[list[_AnyItem], BeforeValidator(_known, json_schema_input_type=str | list[_AnyItem])]
"""The items of a request's `input`; a string is one message of the user."""


def kept(item: _ItemModel) -> Item:
    """An item as it is kept: with an id, and without what is unset. References stay references."""
    data = item.model_dump(exclude_none=True)
    return data if "id" in data else {"id": new_id(_PREFIXES[data["type"]]), **data}
