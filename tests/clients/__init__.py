"""Other people's clients, unchanged, against the server: `tests/clients/run`. Not among the default tests."""
