"""Faults made on purpose under load: `python -m tests.chaos`, or `make chaos`, prints what became of every request."""
