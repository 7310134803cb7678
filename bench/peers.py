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
_OPTIONS = ("-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF")
_SERVER_OPTIONS = ("-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_BUILD_MTMD=OFF")


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
    cmake = str(ROOT / "venv/bin/cmake")
    target = str(ROOT / "build")
    subprocess.run([cmake, "-S", str(source), "-B", target, *_OPTIONS, *_SERVER_OPTIONS], check=True)
    subprocess.run([cmake, "--build", target, "--target", "llama-server", "--parallel"], check=True)


if __name__ == "__main__":
    build()
    sys.exit(f"not built: {', '.join(missing())}" if missing() else None)
