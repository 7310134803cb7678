"""The metrics that dashboards, alerts and autoscalers ask for: the one list of their names."""

from __future__ import annotations

REQUESTS = "ixmodal_requests_total"
WAITING = "ixmodal_requests_waiting"
RUNNING = "ixmodal_requests_running"
SLOTS_BUSY = "ixmodal_slots_busy"
FIRST_TOKEN_SECONDS = "ixmodal_time_to_first_token_seconds"  # noqa: S105  # a metric's name, not a secret
INTER_TOKEN_SECONDS = "ixmodal_inter_token_seconds"  # noqa: S105
QUEUE_SECONDS = "ixmodal_queue_seconds"
E2E_SECONDS = "ixmodal_e2e_seconds"
PROMPT_TOKENS = "ixmodal_prompt_tokens_total"
GENERATED_TOKENS = "ixmodal_generated_tokens_total"
ENGINE_RESTARTS = "ixmodal_engine_restarts_total"

COUNTERS = (REQUESTS, PROMPT_TOKENS, GENERATED_TOKENS, ENGINE_RESTARTS)
GAUGES = (WAITING, RUNNING, SLOTS_BUSY)
HISTOGRAMS = (FIRST_TOKEN_SECONDS, INTER_TOKEN_SECONDS, QUEUE_SECONDS, E2E_SECONDS)
ALL = COUNTERS + GAUGES + HISTOGRAMS
"""Every one of them has the label `model`."""
