from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from ixmodal.errors import SpecError
from ixmodal.spec import ApiKey, App, Endpoint
from ixmodal.spec.keys import as_source
from ixmodal.spec.sources import parse_spec

DIGEST = "sha256:" + hashlib.sha256(b"sk-secret").hexdigest()


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ("sk-secret", DIGEST),
        ("  sk-secret ", DIGEST),
        (DIGEST, DIGEST),
        ("sha256:" + DIGEST[7:].upper(), DIGEST),
        ("env:NAME", "env:NAME"),
        ("secret:name", "secret:name"),
        ("file:/run/keys", "file:/run/keys"),
    ],
)
def test_a_key_is_kept_as_its_digest_a_reference_as_it_is(declared: str, kept: str) -> None:
    assert as_source(declared) == kept
    assert as_source(kept) == kept  # a spec is read again wherever it travels
    assert Endpoint(api_keys=(declared,), keys=(ApiKey(name="a", key=declared),)).key_sources == (kept, kept)


@pytest.mark.parametrize("declared", ["", " ", "env:", "file:", "secret:", "sha256:", "sha256:12", DIGEST + "0"])
def test_what_is_no_key_is_refused(declared: str) -> None:
    with pytest.raises(ValidationError, match=r"a key is empty|a digest is sha256: and 64"):
        ApiKey(name="a", key=declared)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"endpoint": {"keys": [{"name": "Not A Name", "key": "sk-secret"}]}}, "endpoint.keys.0.name"),
        ({"endpoint": {"keys": [{"name": "a", "key": ["sk-secret"]}]}}, "endpoint.keys.0.key"),
        ({"endpoint": {"keys": "sk-secret"}}, "endpoint.keys"),
        ({"endpoint": {"api_keys": {"a": "sk-secret"}}}, "endpoint.api_keys"),
        ({"endpoint": {"api_keys": [["sk-secret"]]}}, "endpoint.api_keys.0"),
        ({"endpoint": ["sk-secret"]}, "endpoint"),
        ({"state": {"url": "http://:sk-secret@host"}}, "state.url: write redis://"),
        ({"state": {"url": "modal-dict://a/b"}}, "state.url: the name of a Dict"),
        ({"state": {"url": ["redis://:sk-secret@host"]}}, "state.url"),
        ({"state": "redis://:sk-secret@host"}, "state"),
        ({"endpoint": {"keys": [{"name": "a", "key": "sk-secret"}, {"name": "a", "key": "b"}]}}, "two have the name"),
        ({"endpoint": {"keys": [{"name": "a", "key": "sk-secret", "models": ["nope"]}]}}, 'no model has the id "nope"'),
        ({"endpoint": {"keys": [{"name": "a", "key": "sk-secret", "requests_per_minute": 0}]}}, "requests_per_minute"),
    ],
    ids=str,
)
def test_errors_repeat_no_secret(data: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(data)
    assert said in caught.value.message
    assert "sk-secret" not in caught.value.message


def test_what_is_no_secret_is_still_repeated() -> None:
    with pytest.raises(SpecError, match=r"endpoint\.max_queued: .*but it is -1"):
        parse_spec({"endpoint": {"max_queued": -1}})


def test_a_spec_shows_no_url_with_a_password() -> None:
    assert "hidden" not in repr(App.model_validate({"state": {"url": "redis://:hidden@host"}}))
