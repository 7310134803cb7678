"""The generator as a process of its own: a `Load` as JSON on standard input, its `Run` as JSON on standard output."""

from __future__ import annotations

import sys

import msgspec

from ixmodal.benchmark.generator import run
from ixmodal.benchmark.load import Load

if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
