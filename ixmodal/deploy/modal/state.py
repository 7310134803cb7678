"""Where replicas on Modal keep what is stored."""

from __future__ import annotations

from ixmodal.deploy.modal.dict_store import DictStore
from ixmodal.server.store import Store
from ixmodal.spec import App


def shared_store(spec: App) -> Store | None:
    """The Dicts that the spec names; None where it names none, and the server chooses."""
    state = spec.state
    if state.path is not None or state.dict_name is None:
        return None
    return DictStore(state.dict_name, max_count=state.max_count, max_age=state.max_age)
