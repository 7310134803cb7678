"""Keeping the store and what runs in the background in step, whichever replica it runs on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from ixmodal.errors import EngineNotReadyError
from ixmodal.server.responses.record import append_log, bury
from ixmodal.server.responses.run import Run
from ixmodal.server.store import Store, StoreError

logger = logging.getLogger("ixmodal.server")
RECOVER_EVERY = 5.0
"""Seconds between two looks for responses whose server is gone."""


class Keeper:
    """Writes how far background responses came, holds them against other replicas, and hears what these ask.

    Who else uses the store may ask for a response's end, or delete it: the run ends within `interval` seconds. What
    nobody holds any more, because its server died or could not write its end, is ended here as failed.
    """

    def __init__(self, store: Store, runs: Mapping[str, Run], interval: float) -> None:
        """Compose; nothing runs yet.

        Args:
            store: which this opens and closes.
            runs: what runs in this process, by its names in the store.
            interval: seconds between two writes.
        """
        self._store = store
        self._runs = runs
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self._recovered = 0.0
        self._is_down = False

    async def start(self) -> None:
        """Open the store, and begin."""
        await self._store.open()
        await self._attempt()
        self._task = asyncio.create_task(self._keep_all(), name="keep responses")

    async def stop(self) -> None:
        """End, and close the store. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._store.close()

    async def flush(self, run: Run) -> None:
        """Write the events that are not written yet."""
        async with run.flushing:
            await self._flush(run)

    async def finish(self, run: Run) -> None:
        """Write a background response for the last time.

        Raises:
            StoreError: it can't be written; or it was deleted or given up by others meanwhile.
        """
        async with run.flushing:  # its document is final last, so that a crash in between shows
            await self._flush(run)
            if not await self._store.rewrite(run.record.to_document()):
                raise StoreError("The response was deleted, or taken for abandoned, while it was made.")

    async def recover(self) -> None:
        """End what nobody makes any more."""
        self._recovered = time.monotonic()
        error = EngineNotReadyError(
            "The server ended while it made this response, or lost its store. Please send it again."
        )
        for document in await self._store.orphans("response"):
            if document.id not in self._runs:
                logger.warning("response %s was unfinished when its server ended", document.id)
                await bury(self._store, document, error)

    async def _keep_all(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._attempt()

    async def _attempt(self) -> None:
        """One round. What fails is tried again in the next; the end of a run meets it, too."""
        try:
            await self._hear()
            for run in self._in_background().values():
                await self._write(run)
            if not self._recovered or time.monotonic() - self._recovered > RECOVER_EVERY:
                await self.recover()
        except StoreError as error:
            if not self._is_down:
                logger.warning("what is stored can't be reached: %s", error.__cause__ or error)
            self._is_down = True
        else:
            if self._is_down:
                logger.info("what is stored can be reached again")
            self._is_down = False

    async def _hear(self) -> None:
        runs = self._in_background()
        fates = await self._store.hold("response", list(runs)) if runs else {}
        for name, fate in fates.items():
            runs[name].stop("cancelled" if fate == "ending" else "dropped")

    def _in_background(self) -> dict[str, Run]:
        return {name: run for name, run in self._runs.items() if run.record.response["background"]}

    async def _write(self, run: Run) -> None:
        async with run.flushing:
            await self._flush(run)
            status = run.record.response["status"]
            if status != run.kept_status and not run.record.is_final and not run.fate:
                await self._store.rewrite(run.record.to_document())
                run.kept_status = status

    async def _flush(self, run: Run) -> None:
        first, frames = run.flushed, run.frames[run.flushed :]
        if frames:
            await append_log(self._store, run.record.name, first, frames)
            run.flushed = first + len(frames)
