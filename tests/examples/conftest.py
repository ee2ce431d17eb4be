"""A served sandbox, and the environment that points the examples at it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbguard.sandbox import Sandbox

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture(scope="module")
def variables(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    with sandbox.serve() as url:
        yield {
            "FBGUARD_APP_ID": sandbox.app_id,
            "FBGUARD_APP_SECRET": sandbox.app_secret,
            "FBGUARD_GRAPH_URL": url,
            "PYTHONPATH": str(ROOT),
        }


@pytest.fixture
def ask(url: str, sandbox: Sandbox) -> Callable[..., tuple[int, dict[str, object]]]:
    """Give ``ask(method, path, **issue_token)``: status and body; ``token=False`` sends no token."""

    def ask(method: str, path: str, *, token: bool = True, **issued: object) -> tuple[int, dict[str, object]]:
        headers = sandbox.bearer(sandbox.issue_token(user_id="42", **issued)) if token else {}  # type: ignore[arg-type]
        request = urllib.request.Request(url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.status, json.load(refused)

    return ask
