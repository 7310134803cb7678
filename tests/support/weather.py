"""A tool for an agent."""

from __future__ import annotations


def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
        city: the city's name.
    """
    return f"purple rain in {city}" if city else "no city"
