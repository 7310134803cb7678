"""Tests against services of the operating system: `make services`. Not among the default ones."""
