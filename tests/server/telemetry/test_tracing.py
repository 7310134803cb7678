from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from ixmodal.errors import SpecError
from ixmodal.server import app
from ixmodal.server.telemetry.tracing import Tracing, open_tracing
from ixmodal.spec import App, Model
from tests.support.scripted import scripted_app

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "say:secret words"}]}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(app, "open_tracing", lambda: Tracing(provider))
    return exporter


def one(spans: InMemorySpanExporter) -> ReadableSpan:
    [span] = spans.get_finished_spans()
    return span


def test_a_span_tells_what_was_asked_and_what_it_cost(spans: InMemorySpanExporter) -> None:
    with TestClient(scripted_app(App(models=(Model("demo"),)))) as client:
        body = {**CHAT, "temperature": 0.5, "max_tokens": 50}
        usage = client.post("/v1/chat/completions", json=body, headers={"traceparent": PARENT}).json()["usage"]
        client.get("/health")
    span = one(spans)
    assert (span.name, span.kind, span.status.status_code) == ("chat demo", SpanKind.SERVER, StatusCode.UNSET)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (PARENT[3:35], PARENT[36:52])
    found = dict(span.attributes or {})
    assert found["gen_ai.operation.name"] == "chat"
    assert (found["gen_ai.request.model"], found["gen_ai.response.model"]) == ("demo", "demo")
    assert (found["gen_ai.request.temperature"], found["gen_ai.request.max_tokens"]) == (0.5, 50)
    assert found["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert found["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["http.response.status_code"] == 200
    assert "secret" not in span.to_json()


def test_its_events_are_in_order_and_within_it(spans: InMemorySpanExporter) -> None:
    with TestClient(scripted_app(App(models=(Model("demo"),)))) as client:
        client.post("/v1/chat/completions", json=CHAT)
    span = one(spans)
    assert [event.name for event in span.events] == ["queue", "prefill", "first_token"]
    times = [span.start_time, *(event.timestamp for event in span.events), span.end_time]
    assert times == sorted(times, key=lambda at: at or 0)


def test_failures_have_their_code(spans: InMemorySpanExporter) -> None:
    failing = {"model": "demo", "messages": [{"role": "user", "content": "say:x !fail"}]}
    with TestClient(scripted_app(App(models=(Model("demo"),)))) as client:
        client.post("/v1/chat/completions", json=failing)
        client.post("/v1/chat/completions", json={**CHAT, "temperature": 9})
        client.post("/v1/completions", json={"model": "demo", "prompt": "say:x !fail|", "stream": True})
    failed, wrong, cut = spans.get_finished_spans()
    assert (failed.attributes or {})["error.type"] == (cut.attributes or {})["error.type"] == "engine_error"
    assert failed.status.status_code is cut.status.status_code is StatusCode.ERROR
    assert ((wrong.attributes or {})["error.type"], wrong.status.status_code) == ("invalid_value", StatusCode.UNSET)
    assert (wrong.name, cut.name) == ("POST /v1/chat/completions", "text_completion demo")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
    ],
)
def test_nothing_is_traced_unless_asked_for(environ: dict[str, str]) -> None:
    assert open_tracing(environ) is None


def test_variables_open_it() -> None:
    for environ in ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, {"OTEL_TRACES_EXPORTER": "console"}):
        opened = open_tracing(environ)
        assert opened
        opened.close()
    with pytest.raises(SpecError, match="OTEL_TRACES_EXPORTER: it is 'zipkin'; write otlp, console or none"):
        open_tracing({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_without_the_extra_a_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert open_tracing({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "pip install 'ixmodal[otel]'" in caplog.text
