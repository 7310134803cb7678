"""Data as the text of a file: YAML and JSON, with a line that says where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

RENDERED = "# Rendered by `ixmodal render`: change the spec and render again.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors, which few readers expect, and with texts of several lines as blocks."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def as_yaml(*documents: Mapping[str, Any]) -> str:
    """One YAML file of one or more documents, keys in their order."""
    return RENDERED + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def as_json(document: Mapping[str, Any]) -> str:
    """One JSON file, keys in their order."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
