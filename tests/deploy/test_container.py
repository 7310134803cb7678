"""The Dockerfile as a builder reads it: stages, instructions, and what is refused because no Dockerfile can hold it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from ixmodal import App, Image, SpecError, Volume, __version__
from ixmodal.deploy.container import dockerfile, dockerignore
from ixmodal.deploy.target import check_places
from ixmodal.spec import State
from tests.deploy.specs import AGENT, ALL, CUDA, SHIPPED
from tests.support.server import ROOT


def stages(spec: App, context: Path = ROOT) -> dict[str, list[str]]:
    """Instructions by stage, each on one line; those ahead of the first stage under ''."""
    text = re.sub(r"^#.*\n", "", dockerfile(spec, context, "infra/Dockerfile"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in filter(None, re.sub(r"\\\n\s*", "", text).splitlines()):
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = start[2]
            found[name] = []
        found[name].append(line)
    return found


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_both_targets_run_as_a_number_that_is_not_root(spec: App) -> None:
    for target in ("cpu", "cuda"):
        assert stages(spec)[target][-1] == "USER 10001:10001"


def test_the_package_comes_after_its_dependencies_so_that_these_stay_cached() -> None:
    found = stages(SHIPPED)
    assert "COPY pyproject.toml constraints.txt ./" in found["dependencies"]
    assert not any("ixmodal" in line for line in found["dependencies"])
    assert "--constraint constraints.txt" in found["dependencies"][-1]
    for target, source in (("cpu", "dependencies"), ("cuda", "dependencies-cuda")):
        copied, installed = found[target][-3:-1]
        assert copied == f"COPY --from={source} /opt/venv /opt/venv"
        assert "/dist/*.whl" in installed


def test_only_the_gpu_target_has_the_gpu_libraries() -> None:
    found = stages(SHIPPED)
    assert any("ctransformers[cuda]" in line for line in found["dependencies-cuda"])
    assert not any("cuda" in line.lower() or "nvidia" in line.lower() for line in found["cpu"])
    assert any("NVIDIA_DRIVER_CAPABILITIES=compute,utility" in line for line in found["cuda"])


def test_the_image_serves_under_an_init_and_is_asked_for_its_health_without_curl() -> None:
    runtime = stages(SHIPPED)["runtime"]
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", "ixmodal"]' in runtime
    assert 'CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]' in runtime
    health = next(line for line in runtime if line.startswith("HEALTHCHECK"))
    assert json.loads(health[health.index("CMD ") + 4 :])[0] == "python"
    assert "/readyz" in health
    assert "--start-period=300s" in health


def test_the_labels_are_those_of_the_open_container_initiative() -> None:
    label = next(line for line in stages(CUDA)["runtime"] if line.startswith("LABEL"))
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\S+)="(.*?)"', label))
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["base.name"] == "${BASE}"
    assert "ARG BASE" in stages(CUDA)["runtime"]  # without it the stage does not know the value
    assert labels["description"] == "Models served by ixmodal: tiny, second"


def test_what_the_spec_says_of_its_image_is_there() -> None:
    found = stages(CUDA)
    assert found[""] == ["ARG BASE=debian:trixie-slim"]
    system = found["base"][1]
    assert re.search(r" tini python3\.12 python3\.12-venv libgomp1 ", system), system
    assert "sentencepiece==0.2.1" in found["dependencies"][-1]
    assert 'ENV OMP_NUM_THREADS="4"' in found["runtime"]
    assert r'ENV QUOTED="a \"b\" \$HOME \\ c"' in found["runtime"]
    assert any(line.endswith("/var/lib/ixmodal /mnt/weights") for line in found["runtime"])


def test_modal_is_the_only_requirement_left_out() -> None:
    command = next(line for line in stages(SHIPPED)["dependencies"] if "tomllib" in line)
    kept = re.search(r"if not line\.startswith\('(.*?)'\)", command)
    assert kept
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert [line.partition("=")[0] for line in declared if line.startswith(kept[1])] == ["modal"]


def test_the_build_reads_nothing_that_it_does_not_need() -> None:
    lines = dockerignore(SHIPPED, ROOT).splitlines()[1:]
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert let_in == ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "ixmodal"]
    copied = [
        word
        for stage in stages(SHIPPED).values()
        for line in stage
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert set(copied) == set(let_in)


def test_a_build_from_source_compiles_for_the_declared_cards_where_the_compiler_is() -> None:
    found = stages(App(image=Image.cuda(build="source"), gpu=("B200", "H100")))
    assert found[""] == ["ARG BASE=nvidia/cuda:12.9.0-devel-ubuntu22.04"]
    assert "python3.11-venv" in found["base"][1]
    command = found["dependencies-cuda"][-1]
    assert "CT_CUBLAS=1 CMAKE_ARGS='-DCMAKE_CUDA_ARCHITECTURES=90;100'" in command
    assert "--no-binary ctransformers ctransformers==0.2.27" in command


def test_tools_of_agents_are_in_the_image(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    assert "COPY desk /opt/tools/desk" in stages(AGENT, tmp_path)["cpu"]
    assert "ENV PYTHONPATH=/opt/tools" in stages(AGENT, tmp_path)["runtime"]
    assert "!desk\n" in dockerignore(AGENT, tmp_path)
    assert not any("PYTHONPATH" in line for line in stages(SHIPPED)["runtime"])


def test_tools_that_are_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"agents\.0\.tools: desk\.drawer:open: there is no desk\.py or desk/"):
        dockerfile(AGENT, tmp_path, "Dockerfile")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (App(image=Image(base="debian\nRUN evil")), "image.base"),
        (App(image=Image(base="debian $(evil)")), "image.base"),
        (App(image=Image(packages=("one\ntwo",))), "image.packages"),
        (App(image=Image(system_packages=("one\x00",))), "image.system_packages"),
        (App(image=Image(env={"A": "line\nRUN evil"})), "image.env"),
        (App(image=Image(env={"A B": "x"})), "image.env"),
        (App(weights=Volume("w", mount="/we ights")), "weights.mount"),
    ],
)
def test_what_would_become_another_instruction_is_refused(spec: App, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        dockerfile(spec, ROOT, "infra/Dockerfile")


def test_packages_are_words_to_the_shell() -> None:
    spec = App(image=Image(packages=("a; rm -rf /",), system_packages=("b && c",)))
    found = stages(spec)
    assert "'a; rm -rf /'" in found["dependencies"][-1]
    assert "'b && c'" in found["base"][1]


def test_a_spec_with_a_redis_gets_its_client_as_the_extra_names_it() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["redis"]
    with_redis = App(state=State(url="redis://redis:6379/0"))
    installed = [line for lines in stages(with_redis).values() for line in lines if f"'{extra[0]}'" in line]
    assert installed
    assert not any("redis" in line for lines in stages(App()).values() for line in lines)
    with pytest.raises(SpecError, match="on Modal only"):
        check_places(App(state=State(url="modal-dict://kept")))
