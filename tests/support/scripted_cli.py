"""`python -m tests.support.scripted_cli serve`: the command line over scripted engines."""

from __future__ import annotations

from functools import partial

import ixmodal.runtime
from ixmodal.cli import main
from ixmodal.runtime import Runtime
from tests.support.scripted import find_scripted

if __name__ == "__main__":
    ixmodal.runtime.Runtime = partial(Runtime, find_load=find_scripted)  # type: ignore[misc, assignment]  # for tests
    main()
