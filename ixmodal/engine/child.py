"""The engine's process as the system sees it: a child with a socket and a pipe, started when it is needed or before.

It takes a child a fifth of a second to import what it needs. `prepare` starts one while the server imports its own;
the next that is asked for is that one. It waits for its first frame, and ends with the process that started it.
"""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_PACKAGE_HOME = str(Path(__file__).parents[2])
"""Where the child finds this very package, however this process came to it."""


class Child(NamedTuple):
    """A child, this end of its socket, and the descriptor from which its stderr is read."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    errors: int

    def discard(self) -> None:
        """End it, and leave nothing of it."""
        self.connection.close()
        os.close(self.errors)
        self.process.kill()
        self.process.wait()


_prepared: list[Child] = []


def _forget() -> None:
    """After a fork, as of servers that load the application before they fork: the child is the first process's."""
    while _prepared:
        child = _prepared.pop()
        child.connection.close()
        os.close(child.errors)
        child.process.returncode = 0  # it is not this process's to wait for


os.register_at_fork(after_in_child=_forget)


def prepare() -> None:
    """Start the next child now, unless one waits already. What keeps it from starting is told where it is needed."""
    if not _prepared:
        try:
            _prepared.append(_start())
        except OSError:
            return


@contextmanager
def beside() -> Iterator[None]:
    """While the block imports and composes a server, an engine's process starts beside it.

    Collections of garbage, which would find none, wait for its end, and never look at what was made in it.
    """
    prepare()
    gc.disable()
    try:
        yield
    except BaseException:
        dismiss()
        raise
    finally:
        gc.freeze()
        gc.enable()


def dismiss() -> None:
    """End the child that was prepared and is not needed."""
    while _prepared:
        _prepared.pop().discard()


def spawn() -> Child:
    """The child that was prepared, or a new one. Raises `OSError` where no process can be started."""
    while _prepared:
        child = _prepared.pop()
        if child.process.poll() is None:
            return child
        child.discard()
    return _start()


def _start() -> Child:
    ours, theirs = socket.socketpair()
    error_read, error_write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ixmodal.engine.worker", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=error_write,
            stderr=error_write,
        )
    except OSError:
        ours.close()
        os.close(error_read)
        raise
    finally:
        theirs.close()
        os.close(error_write)
    return Child(process, ours, error_read)


def _environment() -> dict[str, str]:
    # NumPy multiplies no matrices here: its library's threads, one a core, would only be started, and get in the way.
    path = os.pathsep.join(filter(None, [_PACKAGE_HOME, os.environ.get("PYTHONPATH")]))
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
