"""The server's own description: what each route declares about itself, and the OpenAPI document made of it."""
