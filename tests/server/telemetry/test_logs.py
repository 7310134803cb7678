from __future__ import annotations

import json
import logging

import pytest

from ixmodal.engine.generation import Generation
from ixmodal.engine.request import FinishReason
from ixmodal.errors import SpecError
from ixmodal.server.telemetry.access_log import FIELDS, AccessLog, line_of
from ixmodal.server.telemetry.account import Account
from ixmodal.server.telemetry.logs import JsonFormatter, is_json
from ixmodal.spec.sources import LOG_FORMAT_VARIABLE


def record(message: str = "words %s", *args: object) -> logging.LogRecord:
    return logging.LogRecord("ixmodal", logging.INFO, __file__, 1, message, args or ("here",), None)


def account(**fields: object) -> Account:
    made = Account("req_1", "POST", "/v1/chat/completions")
    made.status, made.is_complete = 200, True
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_json_is_what_machines_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert not is_json({})
    assert is_json({LOG_FORMAT_VARIABLE: "json"})
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert is_json({LOG_FORMAT_VARIABLE: ""})
    assert not is_json({LOG_FORMAT_VARIABLE: "text"})
    with pytest.raises(SpecError, match="IXMODAL_LOG_FORMAT: it is 'xml'; write json or text"):
        is_json({LOG_FORMAT_VARIABLE: "xml"})


def test_any_librarys_record_becomes_a_line_of_json() -> None:
    shown = json.loads(JsonFormatter().format(record()))
    assert (shown["event"], shown["level"], shown["logger"]) == ("words here", "info", "ixmodal")


def test_a_traceback_is_one_line_too() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        made = record()
        made.exc_info = (ValueError, error, error.__traceback__)
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "ok"),
        ({"reason": "tool_calls"}, "tool_calls"),
        ({"is_complete": False}, "cancelled"),
        ({"status": 429}, "status_429"),
        ({"status": 400, "error": "invalid_value"}, "invalid_value"),
        ({"error": "engine_died", "is_complete": False}, "engine_died"),
    ],
)
def test_an_outcome_is_a_word(fields: dict[str, object], outcome: str) -> None:
    assert account(**fields).outcome == outcome


def test_the_outcome_of_completions_is_their_generations() -> None:
    generation = Generation()
    generation.end(FinishReason.LENGTH)
    assert account(generations=[generation]).outcome == "length"


def test_a_line_for_people_has_what_there_is() -> None:
    made = account(model="demo", served_by="cloud", route="/v1/chat/completions", caller="team", ended=0.0)
    made.ended = made.began + 1.5
    made.generations = [generation := Generation()]
    generation.accept(12, 3)
    generation.completion_tokens = 34
    assert line_of(made) == ("POST /v1/chat/completions 200 ok demo by cloud 12+34 tokens total 1.500 s key team req_1")


def test_a_client_that_left_before_an_answer_has_nginx_status() -> None:
    assert " 499 cancelled " in line_of(account(status=0, is_complete=False))


def test_what_outlives_its_request_is_logged_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    generation = Generation()
    generation.accept(5, 0)
    generation.end(FinishReason.STOP)
    with caplog.at_level(logging.INFO, "ixmodal.access"):
        AccessLog().late(account(model="demo"), generation)
    assert caplog.messages == ["background demo stop 5+0 tokens req_1"]
    assert getattr(caplog.records[0], FIELDS)["prompt_tokens"] == 5
