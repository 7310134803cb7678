"""The tiny model, written once a session."""

from tests.support.gguf_files import tiny_model

__all__ = ["tiny_model"]
