"""The compose file: what runs beside the server, and what reaches it."""

from __future__ import annotations

from typing import Any

import pytest

from ixmodal import App, State
from ixmodal.deploy.compose import compose
from tests.deploy.specs import ALL, CUDA, NO_VOLUME, PLACED_BY_HAND, SHIPPED


def made(spec: App) -> dict[str, Any]:
    return compose(spec, "..", "infra/Dockerfile")


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_container_of_ours_is_locked_down_and_reads_the_spec(spec: App) -> None:
    file = made(spec)
    for name in {"server", "pull"} & file["services"].keys():
        service = file["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["environment"]["IXMODAL_SPEC"] == service["configs"][0]["target"]
        assert service["build"] == {"context": "..", "dockerfile": "infra/Dockerfile", "target": spec.image.accelerator}


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_port_is_on_loopback_and_every_volume_declared(spec: App) -> None:
    file = made(spec)
    for service in file["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        named = {volume["source"] for volume in service.get("volumes", []) if volume["type"] == "volume"}
        assert named <= file["volumes"].keys()


def test_the_server_waits_for_the_weights_and_only_reads_them() -> None:
    services = made(CUDA)["services"]
    pull, server = services["pull"], services["server"]
    assert server["depends_on"] == {"pull": {"condition": "service_completed_successfully"}}
    assert pull["command"] == ["pull"]
    assert [(v["target"], v["read_only"]) for v in pull["volumes"][1:]] == [("/mnt/weights", False)]
    assert [(v["target"], v["read_only"]) for v in server["volumes"][1:]] == [("/mnt/weights", True)]
    assert server["environment"]["IXMODAL_WEIGHTS_DIR"] == "/mnt/weights"
    assert pull["environment"]["HF_TOKEN"] == "${HF_TOKEN:-}"


def test_nothing_is_pulled_where_nothing_has_to_be_kept() -> None:
    for spec in (SHIPPED, NO_VOLUME, PLACED_BY_HAND):
        assert "pull" not in made(spec)["services"]
    assert "weights" not in made(SHIPPED)["volumes"]
    assert made(PLACED_BY_HAND)["volumes"]["weights"] == {"name": "byhand"}


def test_hardware_time_and_keys_are_those_of_the_spec() -> None:
    server = made(CUDA)["services"]["server"]
    reservations = server["deploy"]["resources"]["reservations"]
    assert reservations == {
        "cpus": "3.5",
        "memory": "6144M",
        "devices": [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}],
    }
    assert server["stop_grace_period"] == "41s"  # 5 to be taken out of use, 20.5 to drain, 15 to end
    for variable in ("IXMODAL_API_KEYS", "OPS_KEYS"):
        assert server["environment"][variable].startswith(f"${{{variable}:?")  # compose refuses to start without
    assert "ulimits" not in server
    assert made(NO_VOLUME)["services"]["server"]["ulimits"] == {"memlock": -1}
    assert "deploy" not in made(SHIPPED)["services"]["server"]


def test_what_is_optional_has_a_default() -> None:
    assert made(NO_VOLUME)["services"]["server"]["environment"]["HF_TOKEN"] == "${HF_TOKEN:-}"
    assert "HF_TOKEN" not in made(CUDA)["services"]["server"]["environment"]  # the pull has downloaded it all
    shared = made(App(state=State(url="redis://cache:6379/0")))["services"]["server"]["environment"]
    assert shared["IXMODAL_STATE__URL"] == "${IXMODAL_STATE__URL:-redis://cache:6379/0}"
