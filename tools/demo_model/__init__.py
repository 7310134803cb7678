"""Tooling that trains, exports and evaluates the demonstration model shipped in ``ixmodal``."""
