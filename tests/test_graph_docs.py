"""The program of docs/graph.md runs as it stands there, and the page's links lead somewhere."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "graph.md").read_text()


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


def test_the_program(sandbox):
    [block] = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    namespace = {"__name__": "documented"}
    exec(compile(block, "docs/graph.md", "exec"), namespace)
    sandbox.require_proof()
    headers = sandbox.bearer(sandbox.issue_token(user_id="42"))
    client = namespace["app"].test_client()
    with namespace["guard"], namespace["graph"]:
        assert client.get("/name", headers=headers).json == {"name": "User 42"}
        sandbox.remove_app("42")
        refused = client.get("/name", headers=headers)
    assert (refused.status_code, refused.json["reason"], refused.json["code"]) == (401, "not_authorized", 190)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_links_lead_somewhere(link):
    assert (DOCS / link).exists()
