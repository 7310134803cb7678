"""The scripted server under libfaketime. Its engine does without: under that library `time.sleep` fails with EINVAL."""

from __future__ import annotations

import os

from tests.support.scripted import build as build

os.environ.pop("LD_PRELOAD", None)  # it is loaded here by now; children inherit what is left
