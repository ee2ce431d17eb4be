"""The public surface: nothing is missing, nothing leaks, and importing it stays light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fbguard

PROJECT = Path(__file__).parent.parent
FRAMEWORKS_AND_CLIENTS = {
    "aiohttp", "django", "fastapi", "flask", "h11", "httpcore", "httpx", "httpx_aiohttp", "rich", "starlette",
    "typer", "uvicorn", "werkzeug",
}  # fmt: skip


def test_all_is_sorted_and_complete():
    visible = {
        name
        for name in dir(fbguard)  # also what is imported when it is asked for
        if not name.startswith("_")
        and getattr(value := getattr(fbguard, name), "__module__", None)
        and type(value).__name__ != "module"
    }
    assert fbguard.__all__ == sorted(visible)


@pytest.mark.parametrize("name", fbguard.__all__)
def test_every_public_name_is_documented(name):
    assert getattr(fbguard, name).__doc__


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("fbguard.asgi", {"FBTokenMiddleware"}),
        ("fbguard.wsgi", {"FBTokenMiddleware"}),
        ("fbguard.sandbox", {"Sandbox"}),
    ],
)
def test_doors_and_sandbox_are_imported_by_name(module, names):
    __import__(module)
    assert names <= set(vars(sys.modules[module]))


@pytest.mark.parametrize("module", ["fbguard", "fbguard.asgi", "fbguard.wsgi", "fbguard.sandbox"])
def test_importing_loads_no_framework_and_no_http_client(module):
    code = f"import json, sys, {module}; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))
    assert not loaded & FRAMEWORKS_AND_CLIENTS


def test_the_version_heads_the_changelog():
    headings = [
        line for line in (PROJECT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    ]
    assert headings[0].split()[1].strip("[]") == fbguard.__version__
