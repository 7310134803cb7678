"""HTTP: OpenAI-compatible routes over a runtime."""
