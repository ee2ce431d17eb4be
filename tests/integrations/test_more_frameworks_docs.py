"""The programs of docs/more_frameworks.md run, and do what the page says."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "more_frameworks.md").read_text()
BLOCKS = dict(re.findall(r"<!-- run (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
USER = "1001"


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


def test_every_block_is_known():
    assert BLOCKS.keys() == {"falcon", "litestar", "quart"}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_program(sandbox, name, monkeypatch):
    module: Any = ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    exec(compile(BLOCKS[name], f"docs/more_frameworks.md, {name}", "exec"), vars(module))
    app = module.app

    def get(path: str, token: str | None) -> httpx.Response:
        headers = {} if token is None else sandbox.bearer(token)
        if name == "falcon":
            with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://localhost") as client:
                return client.get(path, headers=headers)

        async def main() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost"
            ) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(main())

    page = sandbox.issue_token(
        user_id=USER, scopes=["pages_show_list"], granular_scopes={"pages_show_list": ["501"]}
    )
    assert get("/me", page).json() == {"user": USER}
    assert str(get("/pages/501", page).json()["page"]) == "501"
    assert get("/pages/502", page).json()["reason"] == "insufficient_target"
    assert get("/pages/501", sandbox.issue_token()).json()["reason"] == "insufficient_scope"
    assert get("/me", None).json()["reason"] == "missing_token"
    assert get("/nowhere", None).status_code == 401
    assert get("/health", None).status_code == 404
