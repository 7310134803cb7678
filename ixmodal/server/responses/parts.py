"""The items of an output while they grow, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ixmodal.engine.request import TokenLogprob
from ixmodal.server.protocol.answers import logprob
from ixmodal.server.protocol.responses.items import Item, new_id, output_text

Event = dict[str, Any]


class Part:
    """An item of the output at `index`, in the making."""

    def __init__(self, index: int, item: Item) -> None:
        self.item = {**item, "status": "in_progress"}
        self._where = {"item_id": item["id"], "output_index": index}
        self._texts: list[str] = []

    def open(self) -> list[Event]:
        """The events with which it begins."""
        return [self._of_item("added")]

    def close(self, status: str) -> list[Event]:
        """The events with which it ends."""
        self.item["status"] = status
        return [self._of_item("done")]

    @property
    def _text(self) -> str:
        return "".join(self._texts)

    def _event(self, kind: str, /, **fields: Any) -> Event:
        return {"type": f"response.{kind}", **self._where, **fields}

    def _of_item(self, word: str) -> Event:
        index = self._where["output_index"]
        return {"type": f"response.output_item.{word}", "output_index": index, "item": dict(self.item)}

    def _of_content(self, word: str, part: dict[str, Any]) -> Event:
        return self._event(f"content_part.{word}", content_index=0, part=part)


class Message(Part):
    """The assistant's message."""

    def __init__(self, index: int) -> None:
        super().__init__(index, {"id": new_id("msg"), "type": "message", "role": "assistant", "content": []})
        self._logprobs: list[dict[str, Any]] = []

    def open(self) -> list[Event]:
        """The item, and its only part."""
        return [*super().open(), self._of_content("added", output_text(""))]

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[Event]:
        """More text."""
        if not text and not logprobs:
            return []
        shown = [logprob(entry) for entry in logprobs]
        self._texts.append(text)
        self._logprobs += shown
        return [self._event("output_text.delta", content_index=0, delta=text, logprobs=_bare(shown))]

    def close(self, status: str) -> list[Event]:
        """The whole text, its part, the item."""
        part = output_text(self._text, self._logprobs)
        self.item["content"] = [part]
        done = self._event("output_text.done", content_index=0, text=self._text, logprobs=_bare(self._logprobs))
        return [done, self._of_content("done", part), *super().close(status)]


class Reasoning(Part):
    """What the model thinks before it answers."""

    def __init__(self, index: int) -> None:
        super().__init__(index, {"id": new_id("rs"), "type": "reasoning", "summary": [], "content": []})

    def open(self) -> list[Event]:
        """The item, and its only part."""
        return [*super().open(), self._of_content("added", {"type": "reasoning_text", "text": ""})]

    def add(self, text: str) -> list[Event]:
        """More text."""
        self._texts.append(text)
        return [self._event("reasoning_text.delta", content_index=0, delta=text)]

    def close(self, status: str) -> list[Event]:
        """The whole text, its part, the item."""
        part = {"type": "reasoning_text", "text": self._text}
        self.item["content"] = [part]
        done = self._event("reasoning_text.done", content_index=0, text=self._text)
        return [done, self._of_content("done", part), *super().close(status)]


class Call(Part):
    """A function call; `number` is its place among the calls of the turn."""

    def __init__(self, index: int, number: int, call_id: str, name: str) -> None:
        item = {"id": new_id("fc"), "type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        super().__init__(index, item)
        self.number = number

    def add(self, arguments: str) -> list[Event]:
        """More of the arguments."""
        self._texts.append(arguments)
        return [self._event("function_call_arguments.delta", delta=arguments)] if arguments else []

    def close(self, status: str) -> list[Event]:
        """The whole arguments, the item."""
        self.item["arguments"] = self._text
        name = self.item["name"]
        done = self._event("function_call_arguments.done", name=name, arguments=self._text)
        return [done, *super().close(status)]


def _bare(logprobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log-probabilities as events have them: without bytes."""
    return [
        {**_without_bytes(entry), "top_logprobs": [_without_bytes(other) for other in entry["top_logprobs"]]}
        for entry in logprobs
    ]


def _without_bytes(entry: dict[str, Any]) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"]}
