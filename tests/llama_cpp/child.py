"""llama.cpp in a process of its own: `python -m tests.llama_cpp.child PATH…` prints what loading each file gave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PATIENCE = 60.0


def load_in_child(paths: list[Path]) -> list[str]:
    """The name of the error of each load, or `loaded`. Fails where the child does not end well."""
    command = [sys.executable, "-m", "tests.llama_cpp.child", *map(str, paths)]
    child = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert child.returncode == 0, f"the child ended by {child.returncode}: {child.stderr.decode()[-2000:]}"
    return [str(json.loads(line)) for line in child.stdout.splitlines()]


def main() -> None:
    """The child's side."""
    from ixmodal.backends.llama_cpp import LlamaCppBackend
    from ixmodal.errors import IxmodalError
    from tests.support.gguf_files import load_params

    for path in sys.argv[1:]:
        try:
            LlamaCppBackend(load_params(Path(path))).close()
            result = "loaded"
        except IxmodalError as error:
            result = type(error).__name__
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
