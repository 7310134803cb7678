"""Other OpenAI-compatible servers that answer for models of the spec: asked over HTTP, their answers passed on.

`client` sends a request and retries it before its first byte, `answer` is what comes back, `retries` says when and how
long to wait, `headers` which headers cross over. This package knows no routes.
"""

from __future__ import annotations
