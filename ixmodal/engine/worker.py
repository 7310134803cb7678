"""The engine's process: `python -m ixmodal.engine.worker FD PARENT_PID`.

One thread makes every native call. It loads what the first frame says and ends when the server's end of the socket
closes.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time

from ixmodal.backends import import_usual, load_backend
from ixmodal.backends.base import Backend, Chunk, LoadParams
from ixmodal.engine.channel import Channel
from ixmodal.engine.messages import Load, LoadFailed, Ready
from ixmodal.engine.scheduler import Scheduler
from ixmodal.errors import EngineError, UnsupportedModelError, WeightsError


def _load(channel: Channel, load: Load) -> Scheduler:
    params = LoadParams(
        path=load.path,
        context_length=load.context_length,
        slots=load.slots,
        batch_size=load.batch_size,
        threads=load.threads,
        gpu_layers=load.gpu_layers,
        mmap=load.mmap,
        mlock=load.mlock,
        flash_attention=load.flash_attention,
        cache_type=load.cache_type,
    )
    backend = load_backend(load.backend, params)
    if load.warm_up:
        _warm_up(backend)
    return Scheduler(channel, backend, load)


def _warm_up(backend: Backend) -> None:
    token = backend.vocabulary.bos_id or 0
    backend.forward([Chunk(0, [token], 0)])


def _first_load(channel: Channel) -> Load | None:
    while (messages := channel.receive(wait=True)) is not None:
        for message in messages:
            if isinstance(message, Load):
                return message
    return None


def _exit_with_parent(parent: int) -> None:
    """End this process if the server's died while native code kept the loop from noticing."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Load what the first frame says, then serve until the socket closes."""
    # A terminal's Ctrl-C reaches the whole group; the server drains and then hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(int(sys.argv[2]),), daemon=True).start()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    import_usual()
    load = _first_load(channel)
    if load is None:
        return
    try:
        scheduler = _load(channel, load)
    except (WeightsError, EngineError, ValueError) as error:
        channel.put(LoadFailed(str(error), isinstance(error, UnsupportedModelError)))
        channel.flush()
        raise SystemExit(1) from None
    gc.freeze()  # what is loaded stays: no collection need look at it
    channel.put(Ready(scheduler.model))
    channel.flush()
    scheduler.run()


if __name__ == "__main__":
    main()
