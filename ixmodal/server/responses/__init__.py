"""Responses in the making and at rest: turns become items and events, and are kept, resumed, cancelled."""
