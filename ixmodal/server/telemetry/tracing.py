"""A span for each request, by OpenTelemetry and its conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/. Nothing of it is imported unless the variables that
configure it ask for it (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
A span is made when its request is over, of the times that were noted: it costs the request nothing while it runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ixmodal.engine.generation import Generation
from ixmodal.errors import SpecError
from ixmodal.server.telemetry.access_log import PROBES
from ixmodal.server.telemetry.account import Account

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("ixmodal.server")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OPERATIONS = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/rerank": "rerank",
}
_NANOSECONDS = 1_000_000_000


class Tracing:
    """Makes spans of requests that are over."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("ixmodal")
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, account: Account) -> None:
        """Make a request's span, below its client's own where it sent one. Probes have none."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        if account.route in PROBES:
            return
        span = self._tracer.start_span(
            name_of(account),
            context=self._propagator.extract({"traceparent": account.traceparent}),
            kind=SpanKind.SERVER,
            attributes=attributes_of(account),
            start_time=account.began_at,
        )
        for generation in account.generations:
            for name, at in _moments(generation):
                span.add_event(name, timestamp=_at(account, at))
        if account.status >= 500 or (account.error and account.status < 400):
            span.set_status(Status(StatusCode.ERROR, account.outcome))
        span.end(end_time=_at(account, account.began + account.seconds))

    def close(self) -> None:
        """Send what is left; this may take seconds."""
        self._provider.shutdown()


def open_tracing(environ: Mapping[str, str] | None = None) -> Tracing | None:
    """Tracing as the variables `OTEL_*` configure it; None if they ask for none, or the extra is not installed.

    Raises:
        SpecError: they ask for an exporter that there is not.
    """
    environ = os.environ if environ is None else environ
    exporter = environ.get(_EXPORTER) or ("otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none")
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if exporter not in ("otlp", "console"):
        raise SpecError("the environment", [f"{_EXPORTER}: it is {exporter!r:.40}; write otlp, console or none"])
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        span_exporter = _exporter(exporter)
    except ImportError:
        logger.warning("traces are asked for but OpenTelemetry is not installed: pip install 'ixmodal[otel]'")
        return None
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "ixmodal"}))
    provider.add_span_processor(BatchSpanProcessor(span_exporter))
    return Tracing(provider)


def name_of(account: Account) -> str:
    """`chat demo`; of what asks no model, its method and route."""
    operation = operation_of(account)
    if operation and account.model:
        return f"{operation} {account.model}"
    return f"{account.method} {account.route}".strip()


def operation_of(account: Account) -> str | None:
    """What the conventions call the request; None if it generates nothing."""
    if account.method != "POST":
        return None
    return next((name for end, name in _OPERATIONS.items() if account.route.endswith(end)), None)


def attributes_of(account: Account) -> dict[str, Any]:
    """The span's attributes; those of unknown value are left out."""
    found: dict[str, Any] = {
        "http.request.method": account.method,
        "http.route": account.route or None,
        "http.response.status_code": account.status or None,
        "error.type": account.outcome if account.error or account.outcome == "cancelled" else None,
        "ixmodal.request_id": account.request_id,
        "ixmodal.key": account.caller or None,
    }
    if (operation := operation_of(account)) and account.model:
        sampling = next((found.sampling for found in account.generations if found.sampling), None)
        reasons = [account.reason] if account.reason else [str(found.outcome) for found in account.generations]
        found |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "ixmodal",
            "gen_ai.request.model": account.model,
            "gen_ai.response.model": account.served_by or account.model,
            "gen_ai.request.temperature": sampling and sampling.temperature,
            "gen_ai.request.top_p": sampling and sampling.top_p,
            "gen_ai.request.max_tokens": sampling and sampling.max_tokens,
            "gen_ai.response.finish_reasons": reasons or None,
            "gen_ai.usage.input_tokens": account.prompt_tokens,
            "gen_ai.usage.output_tokens": account.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": account.cached_tokens,
        }
    return {name: value for name, value in found.items() if value is not None}


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _moments(generation: Generation) -> list[tuple[str, float]]:
    found = (("queue", generation.began), ("prefill", generation.sent), ("first_token", generation.first_token))
    return [(name, at) for name, at in found if at is not None]


def _at(account: Account, moment: float) -> int:
    return account.began_at + round((moment - account.began) * _NANOSECONDS)
