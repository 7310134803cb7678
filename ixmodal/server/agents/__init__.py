"""Agents: a model, instructions and Python tools, that answer like a model. The server runs the tools."""
