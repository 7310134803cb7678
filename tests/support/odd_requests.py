"""Requests that no schema allows: bodies that are not JSON, or JSON of the strangest kind, and odd headers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from hypothesis import strategies as st

BODIES: dict[str, Any] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}], "name": "n"}],
        "max_tokens": 4,
        "temperature": 0.5,
        "seed": 1,
        "stop": ["x"],
        "logit_bias": {"70": 1.5},
        "stream_options": None,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}},
    },
    "/v1/completions": {"prompt": "a", "max_tokens": 4, "n": 1, "logprobs": 1, "echo": True, "regex": "[ab]"},
    "/v1/embeddings": {"input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"},
    "/v1/responses": {
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "d"},
        ],
        "max_output_tokens": 16,
        "metadata": {"a": "b"},
        "text": {"format": {"type": "json_object"}},
        "store": False,
    },
    "/v1/conversations": {"items": [{"role": "user", "content": "a"}], "metadata": {"a": "b"}},
    "/v1/conversations/conv_x/items": {"items": [{"role": "user", "content": "a", "id": "msg_1"}]},
    "/tokenize": {"prompt": "a", "return_token_strs": True},
    "/detokenize": {"tokens": [70, 71]},
    "/apply-template": {"messages": [{"role": "user", "content": "a"}]},
}
"""A good body of each route that reads one: the oddities are put into it."""

_MARK = "\u2603"
_DEEP = st.integers(1, 20_000)
_SCALARS = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "1e400", "-1e-400", "1E5", "0x10", "1.", "01", "tru"]),
    st.sampled_from(["null", "true", "false", '""', "[]", "{}", "[[]]", '{"": null}', "'a'", "", "undefined"]),
    st.integers(1, 6000).map(lambda digits: "9" * digits),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from([r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', '"\x00"', '"\x1f"', '"\n"', '"\u202e\ufeff"']),
    st.text(max_size=40).map(json.dumps),
    st.text(max_size=40).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.integers(1, 100_000).map(lambda count: '"' + "é" * count + '"'),
)
_NESTED = st.one_of(
    _DEEP.map(lambda depth: "[" * depth + "]" * depth),
    _DEEP.map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    _DEEP.map(lambda depth: "[" * depth),
    st.lists(_SCALARS, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
    st.lists(st.tuples(st.sampled_from(["type", "role", "a", "a", ""]), _SCALARS), max_size=5).map(
        lambda pairs: "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"
    ),
    st.sampled_from(
        [
            r'{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}',
            r'{"type": "string", "pattern": "(a+)+$"}',
            r'{"$ref": "#/nowhere"}',
            r'{"$ref": "http://127.0.0.1:1/x"}',
            r'{"type": "array", "minItems": 1000000000}',
            r'{"enum": []}',
            r'{"allOf": [{"type": "string"}, {"type": "integer"}]}',
        ]
    ),
)
_ODD = st.one_of(_SCALARS, _NESTED)
_HEADER_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=200),
    st.integers(1, 8000).map(lambda count: "a" * count),
)
_HEADER_NAMES = st.sampled_from(
    (
        "x-request-id",
        "authorization",
        "accept",
        "accept-encoding",
        "content-encoding",
        "origin",
        "cookie",
        "range",
        "x-forwarded-for",
        "openai-beta",
        "openai-organization",
        "if-none-match",
        "te",
    )
)
_MEDIA_TYPES = st.sampled_from(
    (
        "",
        ";",
        "/",
        "text/plain",
        "application/xml",
        "image/png",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json;" * 50,
    )
)


@dataclass(frozen=True)
class OddRequest:
    """A request to be posted."""

    path: str
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)

    def send(self, connection: HTTPConnection) -> tuple[int, bytes]:
        """Its status and answer. Clients with manners would refuse to send some of it."""
        connection.putrequest("POST", self.path)
        for name, value in self.headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("content-length", str(len(self.body)))
        connection.endheaders(self.body)
        response = connection.getresponse()
        return response.status, response.read()


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inside for place in _places(item, (*at, key)))]


def _replaced(value: Any, place: tuple[Any, ...]) -> Any:
    if not place:
        return _MARK
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[place[0]] = _replaced(copy[place[0]], place[1:])
    return copy


@st.composite
def _mutated(draw: st.DrawFn, body: Any) -> bytes:
    """The body with something odd in one or two places, or as a second value of a key."""
    text = json.dumps(body)
    for _ in range(draw(st.integers(1, 2))):
        marked = json.dumps(_replaced(body, draw(st.sampled_from(_places(body)))), ensure_ascii=False)
        text = marked.replace(f'"{_MARK}"', draw(_ODD))
    if draw(st.booleans()) and text.startswith("{"):
        text = "{" + f"{json.dumps(draw(st.sampled_from(sorted(body))))}:{draw(_ODD)}," + text[1:]
    return text.encode("utf-8", "surrogatepass")


@st.composite
def odd_requests(draw: st.DrawFn) -> OddRequest:
    """A request of a route that reads a body."""
    path = draw(st.sampled_from(sorted(BODIES)))
    good = json.dumps(BODIES[path]).encode()
    body = draw(
        st.one_of(
            _mutated(BODIES[path]),
            _mutated(BODIES[path]),
            st.binary(max_size=200),
            st.integers(0, len(good)).map(lambda end: good[:end]),
            st.sampled_from([good.decode().encode("utf-16"), b"\xef\xbb\xbf" + good, good + good, good + b"\0", b""]),
        )
    )
    headers = draw(st.lists(st.tuples(_HEADER_NAMES, _HEADER_VALUES), max_size=3))
    media = draw(st.one_of(st.just("application/json"), _MEDIA_TYPES))
    return OddRequest(path, body, [*headers, ("content-type", media)])
