"""The complete programs of docs/fastapi.md and docs/starlette.md run, and guard what they say."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from fbguard.sandbox import Sandbox
from fbguard.testing import assert_allowed, assert_refused

DOCS = Path(__file__).parents[2] / "docs"
ORIGIN = {"Origin": "https://app.example"}
PAGE = "pages_manage_posts"
OURS = {"scopes": [PAGE], "granular_scopes": {PAGE: ["501"]}}
POSTER = {"scopes": [PAGE, "pages_read_engagement"]}


def blocks(name: str) -> list[str]:
    return re.findall(r"<!-- run -->\n```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


# of each block, in order: (method, path, keywords of the token or None, a reason or None)
EXPECTED: dict[str, list[list[tuple[str, str, dict[str, Any] | None, str | None]]]] = {
    "fastapi.md": [
        [("GET", "/me", None, "missing_token"), ("GET", "/me", {}, None)],
        [
            ("POST", "/newsletter", {}, "insufficient_scope"),
            ("POST", "/newsletter", {"scopes": ["email"]}, None),
            ("POST", "/pages/501/posts", OURS, None),
            ("POST", "/pages/7/posts", OURS, "insufficient_target"),
            ("GET", "/feed", None, None),
            ("GET", "/feed", {"expires_in": -1}, "expired"),
        ],
        [
            ("GET", "/health", None, None),
            ("GET", "/docs", None, None),
            ("GET", "/openapi.json", None, None),
            ("GET", "/redoc", None, None),
            ("GET", "/docs/oauth2-redirect", None, None),
            ("GET", "/me", {}, None),
            ("GET", "/me", None, "missing_token"),
        ],
    ],
    "starlette.md": [
        [("GET", "/me", None, "missing_token"), ("GET", "/me", {}, None)],
        [
            ("GET", "/health", None, None),
            ("GET", "/me", {}, "insufficient_scope"),
            ("GET", "/me", {"scopes": ["email"]}, None),
            ("GET", "/pages/501/posts", {"scopes": [PAGE]}, "insufficient_scope"),
            ("GET", "/pages/501/posts", POSTER, None),
        ],
        [("GET", "/me", {}, "insufficient_scope"), ("GET", "/me", {"scopes": ["email"]}, None)],
        [("GET", "/me", {"expires_in": -1}, "expired"), ("GET", "/me", {"scopes": ["email"]}, None)],
    ],
}  # fmt: skip
CASES = [(name, number) for name, expected in EXPECTED.items() for number in range(len(expected))]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    sandbox = Sandbox()
    with sandbox.serve() as url:
        monkeypatch.setenv("FBGUARD_APP_ID", sandbox.app_id)
        monkeypatch.setenv("FBGUARD_APP_SECRET", sandbox.app_secret)
        monkeypatch.setenv("FBGUARD_GRAPH_URL", url)
        yield sandbox


def run(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    exec(compile(source, name, "exec"), vars(module))
    return module.app  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_block_is_known(name):
    assert len(blocks(name)) == len(EXPECTED[name])


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_documented_program(served, monkeypatch, name, number):
    source = blocks(name)[number]
    with TestClient(run(source, f"{name}, block {number}", monkeypatch)) as client:
        for method, path, issued, reason in EXPECTED[name][number]:
            headers = {} if issued is None else served.bearer(served.issue_token(**issued))
            answer = client.request(method, path, headers=headers | ORIGIN)
            if reason is None:
                assert_allowed(answer)
            else:
                assert_refused(answer, reason)
            if "CORSMiddleware" in source:
                assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
                assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("name", [*EXPECTED, "testing.md"])
def test_lines_are_short_and_links_lead_somewhere(name):
    text = (DOCS / name).read_text()
    assert max(map(len, text.splitlines())) <= 130
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (DOCS / link).exists(), link
