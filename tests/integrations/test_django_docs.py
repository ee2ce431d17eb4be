"""The complete blocks of docs/django.md run as they stand there."""

import re
import types
from pathlib import Path

import pytest

from tests.integrations.django_site import GUARDING

# isort: split
from django.test import Client, RequestFactory, override_settings

from fbguard import Policy
from fbguard.sandbox import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "django.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def run(number):
    module = types.ModuleType(f"django_{number}")
    exec(compile(BLOCKS[number], f"docs/django.md, block {number}", "exec"), module.__dict__)
    return module


@pytest.fixture
def sandbox():
    return Sandbox()


def options(sandbox, **more):
    wired = {"app_id": sandbox.app_id, "app_secret": sandbox.app_secret}
    return wired | {"transport": sandbox.transport, "clock": sandbox.clock} | more


def test_there_are_as_many_blocks_as_tests_know():
    assert len(BLOCKS) == 5
    assert all(len(line) <= 130 for line in PAGE.splitlines())


def test_the_smallest_site(sandbox):
    policy, urls = run(0).policy, run(1)
    assert isinstance(policy, Policy)
    bearer = sandbox.bearer(sandbox.issue_token(user_id="42"))
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[GUARDING], FBGUARD=options(sandbox, policy=policy)):
        assert Client().get("/me").status_code == 401
        assert Client().get("/me", headers=bearer).json() == {"user": "42"}
        assert Client().get("/admin/", headers={"Authorization": "Bearer a|b"}).status_code == 404


def test_the_decorator(sandbox):
    rich = {"scopes": ["pages_manage_posts", "email"], "granular_scopes": {"pages_manage_posts": ["7"]}}
    bearer = sandbox.bearer(sandbox.issue_token(**rich, expires_in=5_000_000))
    with override_settings(ROOT_URLCONF=run(2), MIDDLEWARE=[], FBGUARD=options(sandbox)):
        client = Client()
        assert client.get("/newsletter").status_code == 401
        assert "subscribed" in client.get("/newsletter", headers=bearer).json()
        assert client.get("/pages/7/posts", headers=bearer).json() == {"page": 7, "posts": []}
        assert client.get("/pages/8/posts", headers=bearer).status_code == 403
        assert client.delete("/pages/7/posts", headers=bearer).json() == {"deleted": 7}


def test_csrf(sandbox):
    view = run(3).subscribe
    assert view.csrf_exempt
    with override_settings(FBGUARD=options(sandbox)):
        assert view(RequestFactory().post("/")).status_code == 401


def test_testing():
    with override_settings(ROOT_URLCONF=run(1), MIDDLEWARE=[GUARDING]):
        run(4)
