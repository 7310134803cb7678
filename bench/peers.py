"""The servers to compare with, in an environment of the benchmark's own: `python -m bench.peers` builds it.

llama-cpp-python's source distribution holds llama.cpp, and that holds llama-server: so both are of one release, built
on this machine for its processor. Takes some ten minutes a core and a C++ compiler; CMake comes from a wheel.
BENCH_PEERS names another place than bench/.peers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

VERSION = "0.3.36"
ROOT = Path(os.environ.get("BENCH_PEERS", Path(__file__).parent / ".peers")).absolute()
PYTHON = ROOT / "venv/bin/python"
LLAMA_SERVER = ROOT / "build/bin/llama-server"
_WITH, _WITHOUT = ("SERVER",), ("TESTS", "EXAMPLES", "UI", "MTMD")
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_CURL=OFF",
    *(f"-DLLAMA_BUILD_{part}=ON" for part in _WITH),
    *(f"-DLLAMA_BUILD_{part}=OFF" for part in _WITHOUT),
)
_TARGET = ("--target", "llama-server", "--parallel")


def missing() -> list[str]:
    """What is not built yet."""
    return [str(path) for path in (PYTHON, LLAMA_SERVER) if not path.exists()]


def build() -> None:
    """Build what is missing."""
    if not PYTHON.exists():
        venv.create(ROOT / "venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "cmake", "ninja", f"llama-cpp-python[server]=={VERSION}"], check=True)
    if LLAMA_SERVER.exists():
        return
    fetch = [str(PYTHON), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "scikit-build-core"], check=True)  # the distribution's build backend, for its metadata
    subprocess.run([*fetch, "--no-build-isolation", f"llama-cpp-python=={VERSION}", "--dest", str(ROOT)], check=True)
    (archive,) = ROOT.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(ROOT, filter="data")
    source = ROOT / archive.name.removesuffix(".tar.gz") / "vendor/llama.cpp"
    tools = ROOT / "venv/bin"  # where Ninja is as well
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for step in (["-G", "Ninja", "-S", source, "-B", ROOT / "build", *_OPTIONS], ["--build", ROOT / "build", *_TARGET]):
        subprocess.run([str(tools / "cmake"), *map(str, step)], check=True, env=env)


if __name__ == "__main__":
    build()
    sys.exit(f"not built: {', '.join(missing())}" if missing() else None)
