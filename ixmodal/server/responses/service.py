"""Making, keeping, resuming and cancelling responses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from ixmodal.errors import BusyError, EngineNotReadyError
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.responses.answers import Response, new_response
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.protocol.responses.messages import to_messages
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.responders import Responders
from ixmodal.server.responses.attempts import attempts
from ixmodal.server.responses.context import Context, not_found, to_entries
from ixmodal.server.responses.record import Record, append_log, bury, read_log, to_record
from ixmodal.server.responses.run import Run, Save
from ixmodal.server.store import Store, StoreError
from ixmodal.spec import Limits

logger = logging.getLogger("ixmodal.server")
_POLL = 0.25


class ResponseService:
    """All responses of a server. Lives on one event loop, from `start` to `stop`."""

    def __init__(
        self,
        limits: Limits,
        store: Store,
        responders: Responders,
        *,
        max_background: int = 64,
        flush_interval: float = 1.0,
    ) -> None:
        """Compose the parts; nothing runs yet.

        Args:
            limits: bounds of every request.
            store: keeps responses and conversations.
            responders: the models and agents that answer.
            max_background: responses that may wait or run in the background.
            flush_interval: seconds after which events of background responses are kept at the latest.
        """
        self.store = store
        self.context = Context(store, limits.max_messages)
        self._limits = limits
        self._responders = responders
        self._max_background = max_background
        self._flush_interval = flush_interval
        self._runs: dict[str, Run] = {}
        self._flusher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the store; what an earlier process left unfinished has failed."""
        await self.store.open()
        await self._recover()
        self._flusher = asyncio.create_task(self._flush_all(), name="flush responses")

    async def stop(self) -> None:
        """End what still runs, keep how far it came, and close the store. Idempotent."""
        runs = list(self._runs.values())
        for run in runs:
            run.stop("stopped")
        await asyncio.gather(*(run.wait() for run in runs))
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])
        await self.store.close()

    async def create(self, body: ResponsesRequest) -> Run:
        """Begin a response. A foreground one has begun, its prompt accepted, when this returns.

        Raises:
            HTTPError: the request refers to what isn't there, or is over a limit.
            IxmodalError: the model is unknown or can't answer.
        """
        limits = self._limits
        body.check(limits)
        responder = self._responders.find(body.model, overflows=True)
        before = await self.context.before(body)
        items = await self.context.resolve(body.items(), before)
        request = body.turn(to_messages(body.instructions, [*before, *items]), limits)
        record = Record(new_response(body), items)
        patience = limits.request_timeout if body.background else 0.0
        shorten = body.truncation == "auto"

        def turn() -> Any:
            return attempts(responder.turn, request, patience=patience, shorten=shorten)

        return await (self._in_background if body.background else self._in_foreground)(record, turn, body)

    async def _in_background(self, record: Record, turn: Callable[[], Any], body: ResponsesRequest) -> Run:
        waiting = sum(run.record.response["background"] for run in self._runs.values())
        if waiting >= self._max_background:
            text = f"{waiting} responses run in the background already. Please retry later."
            raise BusyError(text, retry_after=5)
        await self.store.put(record.to_document())
        return self._begin(record, turn, self._saver(body))

    async def _in_foreground(self, record: Record, turn: Callable[[], Any], body: ResponsesRequest) -> Run:
        run = self._begin(record, turn, self._saver(body))
        try:
            await self._wait_for_begin(run, body)
            if not body.stream:
                await run.wait()
                if run.error is not None:
                    raise run.error
        except asyncio.CancelledError:
            run.stop("dropped")
            raise
        return run

    async def _wait_for_begin(self, run: Run, body: ResponsesRequest) -> None:
        """Wait until the prompt was accepted; a stream's reader waits with the status only so long."""
        try:
            async with asyncio.timeout(self._limits.head_timeout if body.stream else None) as limit:
                await run.begun()
        except TimeoutError:
            if not limit.expired():
                raise

    def _begin(self, record: Record, turn: Callable[[], Any], save: Save) -> Run:
        run = self._runs[record.id] = Run(record, turn, save)
        run.on_done(lambda: self._runs.pop(record.id, None))
        return run

    def _saver(self, body: ResponsesRequest) -> Save:
        async def save(run: Run) -> None:
            nobody_knows_it = run.error is not None and not (body.background or (body.stream and run.accepted))
            if not nobody_knows_it:
                await self._save(run)

        return save

    async def _save(self, run: Run) -> None:
        response = run.record.response
        conversation = response["conversation"]
        if conversation and response["status"] in ("completed", "incomplete"):
            await self.store.append("conversation", conversation["id"], to_entries(run.record.items))
        if not response["store"]:
            return
        if response["background"]:  # its document is there; it is final last, so that a crash in between shows
            await self._flush(run)
            await self.store.put(run.record.to_document())
        else:
            await self.store.put(run.record.to_document())
            await self._flush(run)

    async def get(self, id: str) -> Response:
        """A response as it stands. Raises `HTTPError` 404."""
        run = self._running(id)
        if run is not None and not run.record.is_final:
            return run.record.response
        return (await self._load(id)).response

    async def events(self, id: str, after: int) -> AsyncGenerator[bytes, None]:
        """The events of a response after a sequence number, those to come too. Raises `HTTPError` 404."""
        run = self._running(id)
        if run is not None:
            return run.follow(after)
        await self._load(id)
        return self._kept_events(id, after + 1)

    async def input_items(self, id: str) -> list[Item]:
        """All items that a response answered, oldest first. Raises `HTTPError` 404."""
        run = self._running(id)
        return await self.context.of(run.record if run else await self._load(id))

    async def delete(self, id: str) -> None:
        """Delete a response; one in progress is cancelled before. Raises `HTTPError` 404."""
        run = self._running(id)
        if run is not None:
            run.stop("dropped")
            await run.wait()
        if not await self.store.delete("response", id) and run is None:
            raise not_found("Response", id)

    async def cancel(self, id: str) -> Response:
        """Cancel a background response; once more does nothing. Raises `HTTPError` 400, 404 or 409."""
        run = self._running(id)
        response = await self.get(id)
        if not response["background"]:
            raise HTTPError(
                400, "Only background responses can be cancelled: end a connection instead.", code="invalid_value"
            )
        if run is not None:
            run.stop("cancelled")
            await run.wait()
            response = run.record.response
        if response["status"] != "cancelled":
            text = f"The response is {response['status']} and can't be cancelled any more."
            raise HTTPError(409, text, code="response_not_cancellable", headers={"x-should-retry": "false"})
        return response

    def _running(self, id: str) -> Run | None:
        run = self._runs.get(id)
        return run if run and run.record.response["store"] else None

    async def _load(self, id: str) -> Record:
        if run := self._running(id):
            await run.wait()
        document = await self.store.get("response", id)
        if document is not None and document.is_open and id not in self._runs:
            await self._recover()
            document = await self.store.get("response", id)
        if document is None:
            raise not_found("Response", id)
        return to_record(document)

    async def _kept_events(self, id: str, at: int) -> AsyncGenerator[bytes, None]:
        """The events of a kept response; one that another process makes is polled."""
        while True:
            document = await self.store.get("response", id)
            frames = await read_log(self.store, id)
            for frame in frames[at:]:
                yield frame
            at = max(at, len(frames))
            if document is None or not document.is_open:
                return
            await asyncio.sleep(_POLL)

    async def _recover(self) -> None:
        error = EngineNotReadyError("The server ended while it made this response. Please send it again.")
        for document in await self.store.orphans("response"):
            logger.warning("response %s was unfinished when its server ended", document.id)
            await bury(self.store, document, error)

    async def _flush_all(self) -> None:
        while True:
            await asyncio.sleep(self._flush_interval)
            for run in list(self._runs.values()):
                if run.record.response["background"]:
                    with suppress(StoreError):  # the next round, or the end of the run, meets it again
                        await self._flush(run)

    async def _flush(self, run: Run) -> None:
        async with run.flushing:
            first, frames = run.flushed, run.frames[run.flushed :]
            if frames:
                await append_log(self.store, run.record.id, first, frames)
                run.flushed = first + len(frames)
