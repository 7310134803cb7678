from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from ixmodal.errors import SpecError
from ixmodal.server.routes.pages import FOLDER, web_files
from ixmodal.spec import App, CustomEndpoint, Endpoint
from tests.support.scripted import scripted_app

PAGES = ["/", "/status"]
REFERENCE = re.compile(r'(?:href|src)="(?!#)([^"]+)"')
IMPORT = re.compile(r'\bfrom "([^"]+)"')


@pytest.fixture(scope="module")
def guarded() -> TestClient:
    """An application with a key, which is not started: pages need no model."""
    return TestClient(scripted_app(App(endpoint=Endpoint(api_keys=("key",)))))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_open_and_its_policy_is_strict(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("form-action") == "'none'"
    assert policy.pop("frame-ancestors") == "'none'"
    assert policy.pop("img-src") == "'self' data:"
    assert policy.pop("script-src") == policy.pop("style-src") == policy.pop("connect-src") == "'self'"
    assert policy == {"require-trusted-types-for": "'script'", "trusted-types": "dompurify"}
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_inline_code_and_names_no_other_host(path: str) -> None:
    text = (FOLDER / {"/": "chat.html", "/status": "status.html"}[path]).read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    assert "//" not in text


def test_all_that_the_pages_ask_for_is_there(guarded: TestClient) -> None:
    """Every file is reached from a page, and every file that is named is served, without a key."""
    wanted = {"./", "status"}
    for page in PAGES:
        wanted |= set(REFERENCE.findall(guarded.get(page).text))
    asked = {name for name in wanted if name.startswith("web/")}
    reached: set[str] = set()
    while asked:
        name = asked.pop()
        reached.add(name.removeprefix("web/"))
        answer = guarded.get(f"/{name}")
        assert answer.status_code == 200, name
        if name.endswith(".js") and "/vendor/" not in name:
            folder = name.rpartition("/")[0]
            found = {resolve(folder, other) for other in IMPORT.findall(answer.text)}
            asked |= {other for other in found if other.removeprefix("web/") not in reached}
    assert wanted - {f"web/{name}" for name in reached} == {"./", "status"}
    assert reached == set(web_files())


def resolve(folder: str, name: str) -> str:
    parts = folder.split("/")
    for part in name.removeprefix("./").split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/web/css/base.css", "text/css; charset=utf-8"),
        ("/web/js/chat.js", "text/javascript; charset=utf-8"),
        ("/web/vendor/purify.es.mjs", "text/javascript; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
    ],
)
def test_browsers_keep_a_file_and_ask_whether_it_changed(guarded: TestClient, path: str, media_type: str) -> None:
    first = guarded.get(path)
    assert first.headers["content-type"] == media_type
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = guarded.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert guarded.get(path, headers={"if-none-match": '"other"'}).content == first.content
    head = guarded.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(first.content)))


def test_files_have_tags_of_their_own() -> None:
    assert len({file.etag for file in web_files().values()}) == len(web_files())


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/chat.html",
        "/web/vendor/README.md",
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/js/..%2f..%2fapp.py",
        "/web//etc/passwd",
        "/web/js",
    ],
)
def test_nothing_else_is_served(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path, headers={"authorization": "Bearer key"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("path", [*PAGES, "/web/js/chat.js"])
def test_only_reading_a_page_needs_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.post(path).status_code == 401
    assert guarded.post(path, headers={"authorization": "Bearer key"}).status_code == 405


def test_without_pages_their_paths_are_free_and_guarded() -> None:
    own = CustomEndpoint(path="/", body="mine")
    spec = App(custom_endpoints=(own,), endpoint=Endpoint(api_keys=("key",), page=False))
    client = TestClient(scripted_app(spec))
    for path in ("/", "/status", "/web/js/chat.js"):
        assert client.get(path).status_code == 401, path
    assert client.get("/", headers={"authorization": "Bearer key"}).json() == "mine"
    for path in ("/status", "/web/js/chat.js"):
        assert client.get(path, headers={"authorization": "Bearer key"}).status_code == 404, path


def test_an_own_endpoint_is_not_put_before_a_page() -> None:
    with pytest.raises(SpecError, match="GET / is built in"):
        scripted_app(App(custom_endpoints=(CustomEndpoint(path="/", body="mine"),)))


def test_a_key_is_needed_behind_the_page(guarded: TestClient) -> None:
    assert guarded.get("/v1/models").status_code == 401
    assert guarded.post("/v1/chat/completions", json={}).status_code == 401


def test_libraries_come_with_their_licences_and_versions() -> None:
    told = (FOLDER / "vendor" / "README.md").read_text("utf-8")
    for file, package, licence in [
        ("marked.esm.js", "marked v", "LICENSE-marked"),
        ("purify.es.mjs", "DOMPurify ", "LICENSE-dompurify"),
    ]:
        head = (FOLDER / "vendor" / file).read_text("utf-8")[:300]
        version = re.search(rf"{package}(\d+\.\d+\.\d+)", head)
        assert version
        assert version[1] in told
        assert len((FOLDER / "vendor" / licence).read_text("utf-8")) > 1000
