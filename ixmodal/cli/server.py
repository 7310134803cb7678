"""A running OpenAI-compatible server, as the commands see it: its models, and a chat with one of them."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from ixmodal.errors import IxmodalError

START_TIMEOUT = 15.0
"""Seconds for a connection, and for the list of models."""
ANSWER_TIMEOUT = 600.0
"""Seconds between two pieces of an answer: a model may have to load first."""


class ServerError(IxmodalError):
    """The server can't be reached, or answered with an error."""


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: text, or thoughts before it, or how it ended."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None


class Server:
    """A base URL and a key. Use it as a context manager. Every failure is a `ServerError` with the server's words."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        """Compose the client; nothing is sent."""
        self.url = base_url.rstrip("/")
        timeout = httpx.Timeout(ANSWER_TIMEOUT, connect=START_TIMEOUT)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=True)
            if httpx.URL(self.url).scheme not in ("http", "https"):
                raise ServerError(f"{self.url} is no URL; write, for example, http://127.0.0.1:8000/v1")
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ServerError(f"{self.url} can't be used: {error}; correct the URL or the key") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def models(self) -> list[dict[str, Any]]:
        """What `GET /models` lists."""
        with self._translated():
            response = self._client.get(f"{self.url}/models", timeout=START_TIMEOUT)
            _check(response)
            try:
                found = response.json()["data"]
                return [dict(model) for model in found if isinstance(model["id"], str)]
            except (ValueError, KeyError, TypeError):
                raise ServerError(f"{self.url}/models holds no list of models; is it an OpenAI base URL?") from None

    def read(self, path: str) -> httpx.Response:
        """What a route beside /v1 answers. A refusal for want of rights (403) is an answer too."""
        url = self.url.removesuffix("/v1") + path
        with self._translated():
            response = self._client.get(url, timeout=START_TIMEOUT)
            if response.status_code != httpx.codes.FORBIDDEN:
                _check(response)
            return response

    def chat(self, model: str, messages: Sequence[dict[str, str]]) -> Generator[Piece, None, None]:
        """Stream an answer. Closing the iterator hangs up, which ends the generation."""
        body = {"model": model, "messages": list(messages), "stream": True, "stream_options": {"include_usage": True}}
        with self._translated(), self._client.stream("POST", f"{self.url}/chat/completions", json=body) as response:
            if response.is_error:
                response.read()
            _check(response)
            for line in response.iter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                yield _piece(data)

    def _translated(self) -> _Translated:
        return _Translated(self.url)


class _Translated:
    """Turns what the client raises into a `ServerError`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise ServerError(f"nothing answers at {self._url}: {error}") from None
        if isinstance(error, httpx.TimeoutException):
            raise ServerError(f"{self._url} did not answer in time; try again") from None
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            raise ServerError(f"{self._url} broke off: {error or type(error).__name__}; try again") from None


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    message = response.reason_phrase
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text.strip()[:300] or message
    raise ServerError(f"{response.status_code}: {message}")


def _piece(data: str) -> Piece:
    try:
        event = json.loads(data)
        if error := event.get("error"):
            raise ServerError(str(error.get("message", error) if isinstance(error, dict) else error))
        usage = event.get("usage")
        choice = next(iter(event.get("choices") or ()), None)
        if choice is None:
            return Piece(usage=usage)
        delta = choice.get("delta") or {}
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        return Piece(delta.get("content") or "", reasoning, choice.get("finish_reason"), usage)
    except (ValueError, AttributeError, TypeError):
        raise ServerError(f"the server sent no event of a chat: {data[:200]}") from None
