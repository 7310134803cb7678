"""Native code in a process of its own: where a test would crash, only that process does.

`python -m tests.backends.native` reads a JSON list of operations and prints, line by line, what each of them gave.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 60.0


def in_child(model: Path | None, operations: list[tuple[str, Any]]) -> list[Any]:
    """Load `model` and perform each operation; an error is `{"error": …}`. Fails where the child does not end well."""
    first = [("load", str(model))] if model else []
    child = subprocess.run(
        [sys.executable, "-m", "tests.backends.native"],
        input=json.dumps(first + operations).encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    results = [json.loads(line) for line in child.stdout.splitlines()]
    last = child.stderr.decode()[-2000:]
    assert child.returncode == 0, f"the child ended by {child.returncode} after {len(results)} operations: {last}"
    return results[len(first) :]


def main() -> None:
    """The child's side."""
    from ixmodal.backends.base import Chunk
    from ixmodal.backends.ctransformers import CtransformersBackend
    from ixmodal.errors import IxmodalError
    from tests.support.gguf_files import load_params

    backend: Any = None

    def perform(name: str, argument: Any) -> Any:
        nonlocal backend
        if name == "load":
            path, fields = (argument, {}) if isinstance(argument, str) else argument
            backend = CtransformersBackend(load_params(Path(path), **fields))
            return "loaded"
        if name == "copy":
            source, target, count = argument
            backend.copy(source, target, count)
            backend.forward([Chunk(target, [1], count)])
            return count
        if name == "tokenize":
            return backend.tokenize(argument)
        if name == "forward":
            tokens, past = argument
            backend.forward([Chunk(0, tokens, past)])
            return int(backend.logits(0).argmax())
        return [module for module in argument if module in sys.modules]

    for name, argument in json.load(sys.stdin):
        try:
            result = perform(name, argument)
        except IxmodalError as error:
            result = {"error": type(error).__name__, "message": error.message}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
