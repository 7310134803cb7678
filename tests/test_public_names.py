from __future__ import annotations

import ixmodal


def test_public_names_are_pinned() -> None:
    assert ixmodal.__all__ == [
        "AgentSpec",
        "ApiKey",
        "App",
        "CustomEndpoint",
        "Endpoint",
        "Image",
        "IxmodalError",
        "Limits",
        "Modal",
        "ModalSecret",
        "Model",
        "RateLimit",
        "Scaling",
        "SpecError",
        "State",
        "Upstream",
        "Volume",
        "load_spec",
    ]


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ixmodal, name) for name in ixmodal.__all__)
    assert ixmodal.__version__.count(".") == 2
