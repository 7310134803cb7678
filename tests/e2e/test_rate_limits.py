"""What the real `openai` client makes of keys and limits, against a real uvicorn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI, RateLimitError

from tests.support.server import SCRIPTED, Server, serve, wait_for

KEYS = """
[[keys]]
name = "few"
key = "sk-few"
requests_per_minute = 2
tokens_per_minute = 100_000

[[keys]]
name = "single"
key = "sk-single"
max_concurrent = 1

[[keys]]
name = "narrow"
key = "sk-narrow"
models = ["second"]
"""


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "keys.toml"
    path.write_text(KEYS)
    return path


@pytest.fixture(scope="module")
def limited(keys_file: Path) -> Iterator[Server]:
    models = [{"id": "demo", "slots": 2}, {"id": "second"}]
    spec = {"models": models, "endpoint": {"api_keys": [f"file:{keys_file}"]}}
    with serve(SCRIPTED, {"IXMODAL_SPEC": json.dumps(spec)}) as server:
        yield server


def client(server: Server, key: str, retries: int = 0) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=retries, _strict_response_validation=True)


def ask(asking: OpenAI, text: str = "say:four", model: str = "demo") -> str | None:
    answer = asking.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content


def test_headers_count_down_to_a_rate_limit_error(limited: Server) -> None:
    with client(limited, "sk-few") as asking:
        used = 0
        for left in ("1", "0"):
            raw = asking.chat.completions.with_raw_response.create(
                model="demo", messages=[{"role": "user", "content": "say:four"}]
            )
            answer = raw.parse()
            assert answer.usage is not None
            used += answer.usage.total_tokens
            assert raw.headers["x-ratelimit-limit-requests"] == "2"
            assert raw.headers["x-ratelimit-remaining-requests"] == left
            assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
            assert raw.headers["x-ratelimit-remaining-tokens"] == str(100_000 - used)
            assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")
        with pytest.raises(RateLimitError) as caught:
            ask(asking)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.type == "requests"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_the_clients_own_retries_complete_every_request(limited: Server) -> None:
    with client(limited, "sk-single", retries=8) as asking, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda text: ask(asking, f"!slow=0.05 say:{text}"), ("abcd", "efgh", "ijkl")))
    assert answers == ["abcd", "efgh", "ijkl"]


def test_a_key_knows_its_models_only(limited: Server) -> None:
    with client(limited, "sk-narrow") as asking:
        assert [model.id for model in asking.models.list()] == ["second"]
        assert ask(asking, model="second") == "four"
        with pytest.raises(NotFoundError, match="does not exist or you do not have access to it"):
            ask(asking, model="demo")


def test_keys_change_without_a_restart(limited: Server, keys_file: Path) -> None:
    def works(key: str) -> bool:
        with client(limited, key) as asking:
            try:
                return bool(list(asking.models.list()))
            except AuthenticationError:
                return False

    assert (works("sk-narrow"), works("sk-new")) == (True, False)
    changed = keys_file.with_suffix(".new")
    changed.write_text(KEYS.replace("sk-narrow", "sk-new"))
    changed.replace(keys_file)
    wait_for(lambda: works("sk-new"), 5)
    assert not works("sk-narrow")
    keys_file.write_text("keys = [")
    wait_for(lambda: works("sk-new") and "the API keys stay as they were" in limited.log, 5)
    assert "sk-" not in limited.log
