"""The wire types of `/v1/responses` and `/v1/conversations`: requests, items, answers, events."""
