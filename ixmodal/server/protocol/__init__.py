"""Request and response shapes, one file an endpoint family."""
