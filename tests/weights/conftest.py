from __future__ import annotations

import hashlib
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import respx
from huggingface_hub import constants

from ixmodal.spec import Model
from tests.support.hub import Hub, Repository

CONTENT = b"GGUF" + bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = "https://files.example/models/small.gguf"
REPO, FILE = "owner/Small-GGUF", "small.Q4_K_M.gguf"


@pytest.fixture
def route(respx_mock: respx.MockRouter) -> respx.Route:
    """What `URL` answers, without a network."""
    return respx_mock.get(URL)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between attempts, noted instead of waited."""
    noted: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", noted.append)
    return noted


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with one repository, to which huggingface_hub is pointed as by HF_ENDPOINT and HF_HOME."""
    with Hub({REPO: Repository({FILE: CONTENT})}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what is less than a chunk is asked for again
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
        huggingface_hub.close_session()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    room = tmp_path_factory.mktemp("tls")
    cert, key = room / "cert.pem", room / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture
def tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS, which clients of this process and its children trust."""
    cert, key = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


def web(url: str = URL, sha256: str | None = SHA256) -> Model:
    """A model at an https address."""
    return Model("small", source=url, sha256=sha256)


def from_hub(sha256: str | None = SHA256, revision: str | None = None, file: str = FILE, repo: str = REPO) -> Model:
    """A model on the hub."""
    return Model("small", source=f"hf://{repo}", file=file, revision=revision, sha256=sha256)


def left_below(directory: Path) -> set[str]:
    """Names of all files below, locks aside."""
    return {p.name for p in directory.rglob("*") if p.is_file() and p.suffix != ".lock"}


def wait_until(condition: object, seconds: float = 20) -> None:
    """Poll until `condition()` holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
