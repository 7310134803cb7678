"""The names of all metrics, for the server that exports them and for dashboards, alerts and autoscalers that ask."""

from __future__ import annotations

REQUESTS = "ixmodal_requests_total"
RUNNING = "ixmodal_requests_running"
WAITING = "ixmodal_requests_waiting"
CANCELS = "ixmodal_cancels_total"
OVERFLOWS = "ixmodal_overflows_total"
RATE_LIMITED = "ixmodal_rate_limited_total"
UPSTREAM_REQUESTS = "ixmodal_upstream_requests_total"
SLOTS = "ixmodal_slots"
SLOTS_BUSY = "ixmodal_slots_busy"
KV_CACHE_USAGE = "ixmodal_kv_cache_usage_ratio"
MODEL_STATE = "ixmodal_model_state"
ENGINE_RESTARTS = "ixmodal_engine_restarts_total"
PROMPT_TOKENS = "ixmodal_prompt_tokens_total"
CACHED_TOKENS = "ixmodal_prompt_tokens_cached_total"
GENERATED_TOKENS = "ixmodal_generated_tokens_total"
FIRST_TOKEN_SECONDS = "ixmodal_time_to_first_token_seconds"  # noqa: S105  # a metric's name, not a secret
INTER_TOKEN_SECONDS = "ixmodal_inter_token_seconds"  # noqa: S105  # a metric, no password
QUEUE_SECONDS = "ixmodal_queue_seconds"
PREFILL_SECONDS = "ixmodal_prefill_seconds"
DECODE_SECONDS = "ixmodal_decode_seconds"
E2E_SECONDS = "ixmodal_e2e_seconds"

COUNTERS = {
    REQUESTS: "Requests that are over, by route and outcome: a finish reason, an error's code, `cancelled` or `ok`.",
    CANCELS: "Requests whose client hung up before the answer was complete.",
    OVERFLOWS: "Requests that went to the model's `overflow_to` for want of room here.",
    UPSTREAM_REQUESTS: "Requests sent to the model's upstream.",
    ENGINE_RESTARTS: "Engine processes that had to be replaced.",
    PROMPT_TOKENS: "Tokens of prompts.",
    CACHED_TOKENS: "Of them, those that a slot already held, so that nothing was evaluated for them.",
    GENERATED_TOKENS: "Tokens of answers.",
}
GAUGES = {
    RUNNING: "Requests in a slot, or on their way to the upstream.",
    WAITING: "Requests that wait for a slot.",
    SLOTS: "Slots of the model.",
    SLOTS_BUSY: "Slots in use.",
    KV_CACHE_USAGE: "Share, 0 to 1, of all slots' context that running requests use.",
    MODEL_STATE: "1 for the state in which the model is, 0 for the others.",
}
HISTOGRAMS = {
    FIRST_TOKEN_SECONDS: "From a request's arrival at its model to the first token.",
    INTER_TOKEN_SECONDS: "Between two tokens of an answer, as they reach the server.",
    QUEUE_SECONDS: "From a request's arrival at its model until a slot and the engine are ready for it.",
    PREFILL_SECONDS: "From then to the first token: the prompt is rendered and evaluated.",
    DECODE_SECONDS: "From the first token to the last.",
    E2E_SECONDS: "Of a whole request that was answered, as its client sees it.",
}
OF_CALLERS = {RATE_LIMITED: "Requests refused because their key's limit was reached, by limit."}
"""Counters without the label `model`: what is refused at the door asks for none yet."""
ALL = (*COUNTERS, *GAUGES, *HISTOGRAMS, *OF_CALLERS)
"""Every one but those of `OF_CALLERS` has the label `model`."""

VLLM = {
    "vllm:num_requests_running": RUNNING,
    "vllm:num_requests_waiting": WAITING,
    "vllm:kv_cache_usage_perc": KV_CACHE_USAGE,
    "vllm:prefix_cache_queries_total": PROMPT_TOKENS,
    "vllm:prefix_cache_hits_total": CACHED_TOKENS,
    "vllm:prompt_tokens_total": PROMPT_TOKENS,
    "vllm:generation_tokens_total": GENERATED_TOKENS,
    "vllm:time_to_first_token_seconds": FIRST_TOKEN_SECONDS,
    "vllm:inter_token_latency_seconds": INTER_TOKEN_SECONDS,
    "vllm:e2e_request_latency_seconds": E2E_SECONDS,
    "vllm:request_queue_time_seconds": QUEUE_SECONDS,
    "vllm:request_prefill_time_seconds": PREFILL_SECONDS,
    "vllm:request_decode_time_seconds": DECODE_SECONDS,
}
"""What vLLM calls them (https://docs.vllm.ai/en/latest/usage/metrics/), with the label `model_name`."""
VLLM_SUCCESS = "vllm:request_success_total"
"""vLLM's count of answered requests, by `finished_reason`."""
LLAMA_CPP = {
    "llamacpp:prompt_tokens_total": PROMPT_TOKENS,
    "llamacpp:tokens_predicted_total": GENERATED_TOKENS,
    "llamacpp:requests_processing": RUNNING,
    "llamacpp:requests_deferred": WAITING,
}
"""What llama.cpp's server calls them, with our label `model`, for there may be several."""
LLAMA_CPP_SPEEDS = ("llamacpp:prompt_tokens_seconds", "llamacpp:predicted_tokens_seconds")
"""Its mean speeds since the start, tokens a second: reading prompts, writing answers."""
