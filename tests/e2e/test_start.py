"""What a start does not wait for. A module that is listed here is imported by what needs it, when it needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.server import ROOT

NOT_IN_THE_SERVER = """
    ctransformers gguf huggingface_hub httpx jinja2 limits llama_cpp llguidance matplotlib modal numpy openai
    opentelemetry prometheus_client pydantic_settings pynvml redis rich simpy structlog tenacity typer yaml
"""
NOT_IN_THE_ENGINE = """
    anyio asyncio cpuinfo gguf httpx huggingface_hub llguidance pydantic requests starlette structlog uvicorn
"""


def imported(code: str) -> set[str]:
    """The packages that are imported once `code` has run."""
    code += "\nimport json, sys; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "not_wanted"),
    [
        ("import uvicorn, ixmodal.asgi", NOT_IN_THE_SERVER),
        ("import ixmodal.engine.worker, ixmodal.backends.ctransformers as b; b._library()", NOT_IN_THE_ENGINE),
    ],
)
def test_a_start_imports_what_the_first_token_needs(code: str, not_wanted: str) -> None:
    found = imported(code)
    assert "ixmodal" in found
    assert found & set(not_wanted.split()) == set()
