"""Dashboards and alerts ask for metrics of the one list, and for all of them."""

from __future__ import annotations

import re
from typing import Any

from ixmodal import App, Endpoint
from ixmodal.deploy.compose import compose
from ixmodal.deploy.dashboard import dashboard
from ixmodal.deploy.monitoring import DATASOURCE, dashboard_providers, datasources, prometheus, rules
from ixmodal.server.telemetry import names as metrics
from tests.deploy.specs import CUDA, SHIPPED


def asked(text: str) -> set[str]:
    """The metrics in a query, histograms by their own name."""
    names = set(re.findall(r"\bixmodal_\w+", text))
    return {name.removesuffix("_bucket") for name in names}


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    assert set().union(*map(asked, queries())) == set(metrics.ALL)


def test_counters_are_shown_as_rates_and_histograms_as_quantiles() -> None:
    for query in queries():
        for name in asked(query):
            if name in {*metrics.COUNTERS, *metrics.OF_CALLERS}:
                assert re.search(rf"(rate|increase)\({name}[\{{\[]", query), query
            if name in metrics.HISTOGRAMS:
                assert re.search(rf"histogram_quantile\(0\.\d+, sum by \(model, le\) \(rate\({name}_bucket\{{", query)
            if name in metrics.GAUGES:
                assert "rate(" not in query


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) for panel in panels)


def test_alerts_ask_for_known_metrics_and_know_the_queue_of_the_spec() -> None:
    found = {rule["alert"]: rule for rule in rules(App(endpoint=Endpoint(max_queued=10)))["groups"][0]["rules"]}
    assert set().union(*(asked(rule["expr"]) for rule in found.values())) <= set(metrics.ALL)
    assert found["IxmodalQueueNearlyFull"]["expr"].endswith(">= 8")
    assert "at 10 more are refused" in found["IxmodalQueueNearlyFull"]["annotations"]["summary"]
    assert rules(App(endpoint=Endpoint(max_queued=0)))["groups"][0]["rules"][3]["expr"].endswith(">= 1")


def test_the_parts_find_each_other() -> None:
    services: dict[str, Any] = compose(SHIPPED, "..", "infra/Dockerfile")["services"]
    [target] = prometheus(SHIPPED)["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "server:8000"
    assert services["server"]["ports"] == ["127.0.0.1:8000:8000"]
    [source] = datasources()["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in dashboard()["panels"]} == {source["uid"]} == {DATASOURCE}
    folders = {volume["target"] for volume in services["grafana"]["volumes"]}
    assert dashboard_providers()["providers"][0]["options"]["path"] in folders
    assert prometheus(SHIPPED)["rule_files"] == ["rules.yml"]
    assert {"/etc/prometheus/rules.yml", "/etc/prometheus/prometheus.yml"} <= {
        volume["target"] for volume in services["prometheus"]["volumes"]
    }


def test_prometheus_sends_a_key_where_the_server_wants_one() -> None:
    file = compose(CUDA, "..", "infra/Dockerfile")
    assert file["secrets"] == {"scrape-key": {"environment": "IXMODAL_SCRAPE_KEY"}}
    assert file["services"]["prometheus"]["secrets"] == ["scrape-key"]
    [job] = prometheus(CUDA)["scrape_configs"]
    assert job["authorization"] == {"credentials_file": "/run/secrets/scrape-key"}


def test_prometheus_sends_none_where_none_is_wanted() -> None:
    public = CUDA.model_copy(update={"endpoint": CUDA.endpoint.model_copy(update={"public_metrics": True})})
    for spec in (SHIPPED, public):
        file = compose(spec, "..", "infra/Dockerfile")
        assert "secrets" not in file
        assert "secrets" not in file["services"]["prometheus"]
        assert "authorization" not in prometheus(spec)["scrape_configs"][0]
