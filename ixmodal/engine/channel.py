"""The worker's end of the socket to the server."""

from __future__ import annotations

import socket

from ixmodal.engine.messages import FrameBuffer, FromWorker, ToWorker, frame, to_worker

_RECEIVE_BYTES = 1 << 18


class Channel:
    """Typed messages over the socket to the server; those that are put are sent together."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = FrameBuffer()
        self._unsent: list[FromWorker] = []

    def receive(self, *, wait: bool) -> list[ToWorker] | None:
        """The messages that have arrived; waits for some if `wait`. None once the server hung up."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not data:
            return None
        return [message for body in self._buffer.feed(data) for message in to_worker.decode(body)]

    @property
    def has_news(self) -> bool:
        """True while something waits for the next `flush`."""
        return bool(self._unsent)

    def put(self, message: FromWorker) -> None:
        """Have a message sent by the next `flush`."""
        self._unsent.append(message)

    def flush(self) -> None:
        """Send what was put, as one frame; if the server is gone, end."""
        if not self._unsent:
            return
        data = frame(self._unsent)
        self._unsent.clear()
        try:
            self._socket.sendall(data)
        except ConnectionError:
            raise SystemExit(0) from None
