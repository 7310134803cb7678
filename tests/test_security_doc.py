"""docs/security.md names the tests that hold its promises: they are there, and its spec is one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from ixmodal.spec import App, Model
from tests.support.server import ROOT

TEXT = Path(ROOT, "docs", "security.md").read_text("utf-8")


def test_every_promise_names_tests_that_exist() -> None:
    promises = TEXT.partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"no test holds this: {row}"
        for path, name in named:
            assert re.search(rf"^(async )?def {name}\(", Path(ROOT, path).read_text("utf-8"), re.MULTILINE), name


def test_the_example_is_a_spec() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    data = tomllib.loads(example.replace("sha256:9f86d0…", "sha256:" + "0" * 64))
    app = App(models=(Model("tinyllama"),), **data)
    assert [(key.name, key.admin, key.models) for key in app.endpoint.keys] == [
        ("web", False, ("tinyllama",)),
        ("operator", True, ()),
    ]
