"""`ixmodal models`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from ixmodal.cli.check import print_json, size_text
from ixmodal.cli.terminal import Spec, console, failure
from ixmodal.errors import IxmodalError
from ixmodal.spec import App
from ixmodal.spec.sources import load_spec


def models(
    spec: Spec = None,
    base_url: Annotated[str | None, typer.Option(help="List what this server has (http://…/v1), not a spec.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key for --base-url.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List a spec's models and where their weights are, or the models of a running server."""
    try:
        rows = _of_server(base_url, api_key) if base_url else _of_spec(load_spec(spec))
    except IxmodalError as error:
        raise failure(error) from None
    if as_json:
        print_json(rows)
        return
    table = Table(*rows[0] if rows else ["id"], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


def _of_server(base_url: str, api_key: str | None) -> list[dict[str, Any]]:
    from ixmodal.cli.server import Server

    with Server(base_url, api_key) as server:
        found = server.models()
    keys = [
        "id",
        *(key for key in ("status", "context_length", "agent_of", "owned_by") if any(m.get(key) for m in found)),
    ]
    return [{key: model.get(key) for key in keys} for model in found]


def _of_spec(spec: App) -> list[dict[str, Any]]:
    from ixmodal.deploy.checks.weights import check_model

    found = [check_model(model, spec) for model in spec.models]
    rows = [
        {
            "id": report.id,
            "weights": report.state,
            "size": size_text(report.size) if report.size else None,
            "slots": report.slots or None,
            "context": report.context_length,
            "source": report.path or report.source,
        }
        for report in found
    ]
    blank = dict.fromkeys(rows[0])
    return rows + [{**blank, "id": agent.id, "source": f"agent of {agent.model}"} for agent in spec.agents]
