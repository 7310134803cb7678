"""The worker's end of the socket to the server."""

from __future__ import annotations

import select
import socket

from ixmodal.engine.messages import FrameBuffer, FromWorker, ToWorker, frame, to_worker

_RECEIVE_BYTES = 1 << 18


class Channel:
    """Typed frames over the socket to the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = FrameBuffer()

    def receive(self, *, wait: bool) -> list[ToWorker] | None:
        """The frames that have arrived; waits for some if `wait`. None once the server hung up."""
        if not wait and not select.select([self._socket], [], [], 0)[0]:
            return []
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except ConnectionError:
            return None
        if not data:
            return None
        return [to_worker.decode(body) for body in self._buffer.feed(data)]

    def send(self, message: FromWorker) -> None:
        """Send a frame; if the server is gone, end."""
        try:
            self._socket.sendall(frame(message))
        except ConnectionError:
            raise SystemExit(0) from None
