"""The formats in which models call tools: how to ask, how to parse a stream of text, how to force a call."""

from ixmodal.models.tool_calls.events import CallArguments, CallEnded, CallStarted, Content, ParsedEvent
from ixmodal.models.tool_calls.formats import ToolFormat, choose_format
from ixmodal.models.tool_calls.parser import ToolCallParser

__all__ = [
    "CallArguments",
    "CallEnded",
    "CallStarted",
    "Content",
    "ParsedEvent",
    "ToolCallParser",
    "ToolFormat",
    "choose_format",
]
