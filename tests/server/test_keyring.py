from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from ixmodal.errors import SpecError
from ixmodal.server import keyring
from ixmodal.server.keyring import KeyRing
from ixmodal.spec import AgentSpec, ApiKey, App, Endpoint, Model, RateLimit


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def ring(environ: dict[str, str] | None = None, **endpoint: Any) -> KeyRing:
    return KeyRing(App(endpoint=Endpoint(**endpoint)), environ or {})


def problem(environ: dict[str, str] | None = None, **endpoint: Any) -> str:
    with pytest.raises(SpecError) as caught:
        ring(environ, **endpoint)
    return str(caught.value)


def name_of(keys: KeyRing, key: str) -> str | None:
    caller = keys.find(key.encode())
    return caller and caller.name


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at every time."""
    monkeypatch.setattr(keyring, "_CHECK_EVERY", 0.0)


def test_keys_come_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated in March\nin-a-file\n\n{digest('digest-in-a-file')}\n")
    keys = ring(
        {"IXMODAL_API_KEYS": f"one, two,{digest('three')}", "MORE": "four"},
        api_keys=("secret:any", "env:MORE", f"file:{file}", "literal", digest("d")),
        keys=(ApiKey(name="team", key=digest("team-key")),),
    )
    for key in ("one", "two", "three", "four", "in-a-file", "digest-in-a-file", "literal", "d"):
        assert name_of(keys, key) == f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}", key
    assert name_of(keys, "team-key") == "team"
    for wrong in ("", "on", "one ", digest("team-key"), "env:MORE", "# rotated in March"):
        assert name_of(keys, wrong) is None, wrong


def test_no_secret_is_kept_or_shown() -> None:
    endpoint = Endpoint(api_keys="sk-literal", keys=(ApiKey(name="team", key="sk-team"),))
    app = App(endpoint=endpoint)
    keys = KeyRing(app, {})
    for shown in (repr(app), str(app), app.model_dump_json(), repr(vars(keys)), repr(keys.find(b"sk-team"))):
        assert "sk-" not in shown
    assert digest("sk-literal")[-8:] not in repr(app)


def test_two_keys_of_one_name_share_it() -> None:
    keys = ring({"TEAM": "old,new"}, keys=(ApiKey(name="team", key="env:TEAM"),))
    assert name_of(keys, "old") == name_of(keys, "new") == "team"
    assert (len(keys), keys.names) == (2, ["team"])


def test_limits_are_a_keys_own_or_the_endpoints() -> None:
    keys = ring(
        api_keys="plain",
        keys=(ApiKey(name="team", key="t", requests_per_minute=5),),
        rate_limit=RateLimit(requests_per_minute=1, tokens_per_minute=2),
    )
    plain, team = keys.find(b"plain"), keys.find(b"t")
    assert plain is not None
    assert team is not None
    assert plain.limits == RateLimit(requests_per_minute=1, tokens_per_minute=2)
    assert team.limits == RateLimit(requests_per_minute=5, tokens_per_minute=2)


def test_models_of_a_key_are_ids_aliases_and_agents() -> None:
    spec = App(
        models=(Model("a", aliases=("alias",)), Model("b")),
        agents=(AgentSpec(id="agent", model="b"),),
        endpoint=Endpoint(keys=(ApiKey(name="team", key="k", models=("alias", "agent")), ApiKey(name="all", key="l"))),
    )
    keys = KeyRing(spec, {})
    caller, unbound = keys.find(b"k"), keys.find(b"l")
    assert caller is not None
    assert unbound is not None
    assert caller.models == {"a", "agent"}
    assert [caller.may_use(id) for id in ("a", "agent", "b", "alias")] == [True, True, False, False]
    assert unbound.may_use("b")


def test_what_is_wrong_is_said_without_the_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('keys = [{ name = "team", key = "sk-hidden", reqests_per_minute = 3 }]')
    assert "keys.0.reqests_per_minute: Extra inputs are not permitted" in problem(api_keys=f"file:{file}")
    file.write_text('keys = [{ key = "sk-hidden" }]')
    assert "keys.0.name: Field required" in problem(api_keys=f"file:{file}")
    file.write_text('keys = [{ name = "team", key = "sk-hidden", models = ["nope"] }]')
    said = problem(api_keys=f"file:{file}")
    assert 'no model has the id "nope"' in said
    assert "sk-hidden" not in said
    file.write_text('keys = [{ name = "team", key = "env:SECRET" }]')
    assert "no references to other places" in problem(api_keys=f"file:{file}")
    file.write_text("keys = [")
    assert "not valid TOML" in problem(api_keys=f"file:{file}")
    file.write_text("")
    assert "its only field is `keys`" in problem(api_keys=f"file:{file}")
    assert "one key a line" in problem(keys=(ApiKey(name="team", key=f"file:{file}"),))
    assert "can't be read: No such file" in problem(api_keys=f"file:{tmp_path}/nothing")
    assert "set the environment variable NOTHING" in problem(api_keys="env:NOTHING")
    assert "a digest is sha256: and 64" in problem({"K": "sha256:abc"}, api_keys="env:K")
    both = (ApiKey(name="a", key="same"), ApiKey(name="b", key="same"))
    assert "a and b have the same key" in problem(keys=both).replace("b and a", "a and b")
    (tmp_path / "empty").write_text("\n# nothing\n")
    assert "it holds no key" in problem(api_keys=f"file:{tmp_path}/empty")
    (tmp_path / "huge").write_bytes(b"k" * 2_000_000)
    assert "is it a file of keys?" in problem(api_keys=f"file:{tmp_path}/huge")


@pytest.mark.usefixtures("impatient")
def test_a_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As Kubernetes replaces a mounted secret: a symbolic link is pointed at a new directory."""
    for version, key in (("v1", "old"), ("v2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(key)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys").symlink_to("..data/keys")
    keys = ring(api_keys=f"file:{tmp_path}/keys")
    assert (name_of(keys, "old") is None, name_of(keys, "new") is None) == (False, True)
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(tmp_path / "..data")
    with caplog.at_level(logging.INFO):
        assert (name_of(keys, "old") is None, name_of(keys, "new") is None) == (True, False)
    assert caplog.messages == ["API keys were read again: 1 keys of 1 callers"]


@pytest.mark.usefixtures("impatient")
def test_a_broken_file_leaves_the_last_good_keys_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": [{"name": "team", "key": "good"}]}')
    keys = ring(api_keys=f"file:{file}")
    file.write_text('{"keys": [{"name": "team", "key": "go')
    for _ in range(3):
        assert name_of(keys, "good") == "team"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not valid JSON" in caplog.text
    assert "go" not in caplog.messages[0].replace("good", "")
    file.unlink()
    for _ in range(3):
        assert name_of(keys, "good") == "team"
    assert len(caplog.records) == 2
    file.write_text('{"keys": [{"name": "team", "key": "better", "admin": true}]}')
    assert (name_of(keys, "good"), name_of(keys, "better"), keys.has_admin) == (None, "team", True)


def test_a_file_is_not_looked_at_for_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("k")
    keys = ring(api_keys=f"file:{file}")
    looks: list[int] = []
    monkeypatch.setattr(keyring.KeyFile, "has_changed", lambda _: looks.append(threading.get_ident()))
    for _ in range(100):
        keys.find(b"k")
    assert len(looks) <= 1


def test_every_digest_is_compared_however_early_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ring(api_keys=("a", "b", "c"))
    compared: list[bool] = []
    whole = keyring.hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append(whole(one, other))
        return compared[-1]

    monkeypatch.setattr(keyring.hmac, "compare_digest", counting)
    assert keys.find(b"a") is not None
    assert sorted(compared) == [False, False, True]
