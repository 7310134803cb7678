"""A server's metrics, as Prometheus would read them."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Reading:
    """The samples of an exposition."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    @classmethod
    def of(cls, url: str) -> Reading:
        """What the server at a URL shows now."""
        response = httpx.get(f"{url}/metrics")
        assert response.status_code == 200, response.text
        return cls(response.text)

    @property
    def names(self) -> set[str]:
        """All names that a query may ask for, histograms by their own."""
        found = set()
        for family in self.families.values():
            found.add(f"{family.name}_total" if family.type == "counter" else family.name)
        return found

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples of that name that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )
