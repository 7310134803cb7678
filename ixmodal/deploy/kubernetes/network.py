"""How pods are reached, what they may reach, and how many may be away at once."""

from __future__ import annotations

from typing import Any

from ixmodal.deploy.kubernetes.objects import manifest, selector
from ixmodal.deploy.target import calls_out
from ixmodal.spec import App

CLIENT_NAMESPACES = ("ingress-nginx", "keda", "monitoring")
"""Namespaces from which requests, scrapes and scalers usually come."""
CLIENT_LABEL = "ixmodal-client"
"""A namespace with this label set to "true" may call the server as well."""


def service(spec: App) -> dict[str, Any]:
    """The address inside the cluster."""
    port = {"name": "http", "port": 80, "targetPort": "http"}
    return manifest(spec, "v1", "Service", spec.name, spec={"selector": selector(spec), "ports": [port]})


def disruption_budget(spec: App) -> dict[str, Any]:
    """One replica at a time, so that draining a node neither takes all of them nor waits for ever."""
    details = {"maxUnavailable": 1, "selector": {"matchLabels": selector(spec)}}
    return manifest(spec, "policy/v1", "PodDisruptionBudget", spec.name, spec=details)


def network_policy(spec: App) -> dict[str, Any]:
    """Who may call the server, and that it calls nobody unless the spec gives it a reason to."""
    usual = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(CLIENT_NAMESPACES)}
    callers = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchExpressions": [usual]}},
        {"namespaceSelector": {"matchLabels": {CLIENT_LABEL: "true"}}},
    ]
    details = {
        "podSelector": {"matchLabels": selector(spec)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": callers, "ports": [{"protocol": "TCP", "port": "http"}]}],
        "egress": [{}] if calls_out(spec) else [],
    }
    return manifest(spec, "networking.k8s.io/v1", "NetworkPolicy", spec.name, spec=details)
