"""A question with one answer, as the server sees it."""

from __future__ import annotations

import asyncio

from ixmodal.engine.messages import Failed, FromWorker, Refused
from ixmodal.engine.stream import error_of
from ixmodal.errors import IxmodalError


class Reply:
    """Waits for the frame that answers."""

    def __init__(self) -> None:
        self._future: asyncio.Future[FromWorker] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """True once the engine has nothing more to send."""
        return self._future.done()

    def put(self, message: FromWorker) -> None:
        """Take the frame of this question."""
        if self.ended:
            return
        if isinstance(message, Refused | Failed):
            self._future.set_exception(error_of(message))
        else:
            self._future.set_result(message)

    def fail(self, error: IxmodalError) -> None:
        """End without an answer."""
        if not self.ended:
            self._future.set_exception(error)

    async def wait(self) -> FromWorker:
        """The answer. Raises the error with which the question ended."""
        return await self._future
