from __future__ import annotations

from tests.support.gguf_files import tiny_model

__all__ = ["tiny_model"]
