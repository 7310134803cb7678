"""The objects that answers are made of, as types: what the handlers build and what the OpenAPI document declares."""
