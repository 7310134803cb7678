"""Who may call a server, and whom it may call."""

from __future__ import annotations

import pytest

from ixmodal import App, State
from ixmodal.deploy.kubernetes.network import disruption_budget, network_policy
from tests.deploy.specs import AGENT, CUDA, FORWARDED, NO_VOLUME, SHIPPED


def test_callers_are_the_own_namespace_the_usual_ones_and_those_that_say_so() -> None:
    [rule] = network_policy(SHIPPED)["spec"]["ingress"]
    own, usual, labelled = rule["from"]
    assert own == {"podSelector": {}}
    assert usual["namespaceSelector"]["matchExpressions"][0]["values"] == ["ingress-nginx", "keda", "monitoring"]
    assert labelled == {"namespaceSelector": {"matchLabels": {"ixmodal-client": "true"}}}


@pytest.mark.parametrize(
    ("spec", "egress"),
    [
        (SHIPPED, []),
        (CUDA, []),
        (NO_VOLUME, [{}]),
        (AGENT, [{}]),
        (FORWARDED, [{}]),
        (App(state=State(url="redis://cache")), [{}]),
    ],
)
def test_a_server_calls_out_only_where_the_spec_gives_it_a_reason(spec: App, egress: list[object]) -> None:
    policy = network_policy(spec)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == egress


def test_a_drain_neither_takes_all_replicas_nor_waits_for_ever() -> None:
    assert disruption_budget(SHIPPED)["spec"]["maxUnavailable"] == 1
