"""The tools of agent_with_tools.toml. Hints and docstrings are what the model is told of them."""

from __future__ import annotations

from typing import Literal

Article = Literal["tea", "coffee", "sugar"]
PRICES: dict[Article, float] = {"tea": 3.2, "coffee": 5.9, "sugar": 1.1}
STOCK: dict[Article, int] = {"tea": 40, "coffee": 12, "sugar": 0}


def get_price(article: Article) -> str:
    """Get the price of an article.

    Args:
        article: what is asked for.
    """
    return f"{PRICES[article]:.2f} euros"


async def get_stock(article: Article) -> str:
    """Get how many packets of an article there are.

    Args:
        article: what is asked for.
    """
    count = STOCK[article]
    return f"{count} packets" if count else "sold out"
