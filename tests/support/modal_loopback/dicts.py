"""Modal's Dicts: each call of the service changes or reads one Dict as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from modal_proto import api_pb2


class Dicts:
    """All Dicts, by their names; keys and values are bytes to the service."""

    def __init__(self) -> None:
        self.content: dict[str, dict[bytes, bytes]] = {}

    def handlers(self) -> dict[str, Any]:
        """What is answered, by RPC name."""
        return {
            "DictGetOrCreate": self._find,
            "DictGet": self._get,
            "DictContains": self._contains,
            "DictUpdate": self._update,
            "DictPop": self._pop,
            "DictContents": self._items,
        }

    def _find(self, request: api_pb2.DictGetOrCreateRequest) -> Message:
        self.content.setdefault(f"di-{request.deployment_name}", {})
        metadata = api_pb2.DictMetadata(name=request.deployment_name)
        return api_pb2.DictGetOrCreateResponse(dict_id=f"di-{request.deployment_name}", metadata=metadata)

    def _get(self, request: api_pb2.DictGetRequest) -> Message:
        found = self.content[request.dict_id].get(request.key)
        return api_pb2.DictGetResponse(found=found is not None, value=found)

    def _contains(self, request: api_pb2.DictContainsRequest) -> Message:
        return api_pb2.DictContainsResponse(found=request.key in self.content[request.dict_id])

    def _update(self, request: api_pb2.DictUpdateRequest) -> Message:
        content = self.content[request.dict_id]
        created = not any(entry.key in content for entry in request.updates)
        if created or not request.if_not_exists:
            content.update((entry.key, entry.value) for entry in request.updates)
        return api_pb2.DictUpdateResponse(created=created)

    def _pop(self, request: api_pb2.DictPopRequest) -> Message:
        found = self.content[request.dict_id].pop(request.key, None)
        return api_pb2.DictPopResponse(found=found is not None, value=found)

    async def _items(self, request: api_pb2.DictContentsRequest) -> AsyncIterator[Message]:
        for key, value in list(self.content[request.dict_id].items()):
            yield api_pb2.DictEntry(key=key, value=value)
