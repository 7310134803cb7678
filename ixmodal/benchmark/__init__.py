"""Load on any OpenAI-compatible server, and how long its users would have waited."""
