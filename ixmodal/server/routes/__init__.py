"""Thin handlers: a validated request, a generation, a response."""
