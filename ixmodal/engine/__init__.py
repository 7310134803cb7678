"""From a request to tokens: the engine's own process, and the client through which the server asks it."""
