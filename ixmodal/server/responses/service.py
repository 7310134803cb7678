"""Making, keeping, resuming and cancelling responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ixmodal.errors import BusyError, EngineNotReadyError, ServerStoppingError
from ixmodal.server.callers import current_caller, shelved
from ixmodal.server.errors import HTTPError
from ixmodal.server.protocol.responses.answers import FINAL, Response, new_response
from ixmodal.server.protocol.responses.items import Item
from ixmodal.server.protocol.responses.messages import to_messages
from ixmodal.server.protocol.responses.request import ResponsesRequest
from ixmodal.server.responders import Responders
from ixmodal.server.responses.attempts import attempts
from ixmodal.server.responses.context import Context, not_found, to_entries
from ixmodal.server.responses.keeper import Keeper
from ixmodal.server.responses.record import Record, read_log, to_record
from ixmodal.server.responses.run import Run, Save
from ixmodal.server.store import Store
from ixmodal.spec import Limits

_POLL = 0.25
_PATIENCE = 10.0
"""Seconds that another replica may take to end a response that is cancelled here."""


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
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Compose the parts; nothing runs yet.

        Args:
            limits: bounds of every request.
            store: keeps responses and conversations.
            responders: the models and agents that answer.
            max_background: responses that may wait or run in the background.
            flush_interval: seconds after which events of background responses are kept, and what other replicas ask of
                them is heard, at the latest.
            is_stopping: whether the server ends; who follows a response of another replica is then sent elsewhere.
        """
        self.store = store
        self.context = Context(store, limits.max_messages)
        self._limits = limits
        self._responders = responders
        self._max_background = max_background
        self._is_stopping = is_stopping
        self._runs: dict[str, Run] = {}
        self._keeper = Keeper(store, self._runs, flush_interval)

    @property
    def running(self) -> int:
        """Responses in the making."""
        return len(self._runs)

    async def start(self) -> None:
        """Open the store; what an earlier process left unfinished has failed."""
        await self._keeper.start()

    async def stop(self) -> None:
        """End what still runs, keep how far it came, and close the store. Idempotent."""
        runs = list(self._runs.values())
        for run in runs:
            run.stop("stopped")
        await asyncio.gather(*(run.wait() for run in runs))
        await self._keeper.stop()

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
        record = Record(new_response(body), items, current_caller().shelf)
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
        run = self._runs[record.name] = Run(record, turn, save)
        run.on_done(lambda: self._runs.pop(record.name, None))
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
            name = run.record.shelf + conversation["id"]
            await self.store.append("conversation", name, to_entries(run.record.items))
        if response["background"]:
            await self._keeper.finish(run)
        elif response["store"]:
            await self.store.put(run.record.to_document())
            await self._keeper.flush(run)

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
        return self._kept_events(shelved(id), after + 1)

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
        if not await self.store.delete("response", shelved(id)) and run is None:
            raise not_found("Response", id)

    async def cancel(self, id: str) -> Response:
        """Cancel a background response, on whichever replica it runs; once more does nothing.

        Raises:
            HTTPError: 400, 404 or 409.
            EngineNotReadyError: the replica that makes it does not answer.
        """
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
        elif response["status"] not in FINAL:
            await self.store.end("response", shelved(id))
            response = await self._ended_elsewhere(id)
        if response["status"] != "cancelled":
            text = f"The response is {response['status']} and can't be cancelled any more."
            raise HTTPError(409, text, code="response_not_cancellable", headers={"x-should-retry": "false"})
        return response

    async def _ended_elsewhere(self, id: str) -> Response:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not (record := await self._load(id)).is_final:  # noqa: ASYNC110  # another process ends it
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            text = "Another replica makes this response and has not ended it yet. Please cancel it again."
            raise EngineNotReadyError(text) from None
        return record.response

    def _running(self, id: str) -> Run | None:
        run = self._runs.get(shelved(id))
        return run if run and run.record.response["store"] else None

    async def _load(self, id: str) -> Record:
        if run := self._running(id):
            await run.wait()
        name = shelved(id)
        document = await self.store.get("response", name)
        if document is not None and document.is_open and name not in self._runs:
            await self._keeper.recover()
            document = await self.store.get("response", name)
        if document is None:
            raise not_found("Response", id)
        return to_record(document)

    async def _kept_events(self, name: str, at: int) -> AsyncGenerator[bytes, None]:
        """The events of a kept response; one that another replica makes is polled."""
        while True:
            document = await self.store.get("response", name)
            frames = await read_log(self.store, name)
            for frame in frames[at:]:
                yield frame
            at = max(at, len(frames))
            if document is None or not document.is_open:
                return
            if self._is_stopping():
                raise ServerStoppingError("The server is stopping. Please follow the response on another connection.")
            await asyncio.sleep(_POLL)
