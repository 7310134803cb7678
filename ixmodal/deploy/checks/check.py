"""The whole check of a spec."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from ixmodal.deploy.checks.findings import Finding, Report, TargetReport, errors
from ixmodal.deploy.checks.targets import container, modal, this_machine
from ixmodal.deploy.checks.weights import ModelReport, check_model
from ixmodal.errors import SpecError
from ixmodal.server.agents.tools import load_tools
from ixmodal.server.app import routes_of
from ixmodal.spec import App

TARGETS = ("local", "container", "modal")
"""What may be asked for by name."""


def check(
    spec: App, name: str = "the spec", targets: Collection[str] = (), environ: Mapping[str, str] | None = None
) -> Report:
    """Look at everything that can be seen from here.

    Args:
        spec: the deployment.
        name: what it is called in the report.
        targets: some of `TARGETS`, which must then work; none: all are told of, and those must work that the spec is
            meant for.
        environ: where keys are looked for; unset: this process's environment.
    """
    environ = os.environ if environ is None else environ
    models = [check_model(model, spec) for model in spec.models]
    views: dict[str, Callable[[], TargetReport]] = {
        "local": lambda: this_machine(spec, models, environ),
        "container": lambda: container(spec, models),
        "modal": lambda: modal(spec, models),
    }
    found = [views[target]() for target in TARGETS if target in targets or not targets]
    if targets:
        for target in found:
            target.is_intended = True
    return Report(name, models, found, [*_of_models(models), *_agents(spec), *_routes(spec)])


def _of_models(models: Sequence[ModelReport]) -> list[Finding]:
    return [Finding(f.level, f"{model.id}: {f.text}") for model in models for f in model.findings]


def _agents(spec: App) -> list[Finding]:
    found: list[str] = []
    for agent in spec.agents:
        try:
            load_tools(agent.tools, agent.id)
        except SpecError as error:
            found += [f"the agent {agent.id}: {problem}" for problem in error.problems]
    return errors(found)


def _routes(spec: App) -> list[Finding]:
    try:
        routes_of(spec)
    except SpecError as error:
        return errors(error.problems)
    return []
