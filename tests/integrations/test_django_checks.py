"""The system checks of Django: what they say of FBGUARD and of the order of MIDDLEWARE."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

import fbguard.integrations.django  # noqa: F401 - as INSTALLED_APPS does: it registers the checks
from fbguard import Policy, Rule
from tests.support import APP_ID, SECRET, FakeGraph

GUARDING = "fbguard.integrations.django.FBTokenMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
COOKIE = {"token_from": ["header", "cookie:fb"]}
QUERY = {"token_from": ["query"]}
SOCKET = {"token_from": ["header", "websocket-protocol"]}


def found(middleware: list[str], **fbguard: Any) -> list[Any]:
    options = {"app_id": APP_ID, "app_secret": SECRET, "transport": FakeGraph()} | fbguard
    with override_settings(MIDDLEWARE=middleware, FBGUARD=options):
        return [one for one in run_checks() if (one.id or "").startswith("fbguard.")]


@pytest.mark.parametrize(
    ("middleware", "options"),
    [
        ([GUARDING], {}),
        ([COMMON, CORS, GUARDING, COMMON], {}),
        ([CORS, GUARDING], {"policy": Policy(Rule("/", public=True))}),
        ([GUARDING], {"policy": None}),
        ([], {}),  # the decorator alone
        ([], {"policy": None}),
        ([CORS, COMMON, UPDATE], {}),
        ([UPDATE, CORS, GUARDING, FETCH], COOKIE),
        ([UPDATE, GUARDING, FETCH], QUERY),
        ([GUARDING, UPDATE, FETCH], {}),  # Django's own caches heed the Authorization header
        ([GUARDING, UPDATE, FETCH], SOCKET),
        ([UPDATE, FETCH], COOKIE),  # the decorator marks what it answers
    ],
)
def test_good_settings_are_not_reported(middleware, options):
    assert found(middleware, **options) == []


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(Rule("/health", public=True)),
        {"rules": [{"path": "/health", "public": True}]},
        "tests.integrations.django_site.urls.POLICY",
    ],
)
def test_a_policy_that_nobody_follows_is_an_error(policy):
    (one,) = found([COMMON], policy=policy)
    assert (one.id, one.level) == ("fbguard.E003", ERROR)
    assert GUARDING in one.hint
    assert "leave the policy out" in one.hint
    assert found([COMMON, GUARDING], policy=policy) == []


def test_cors_below_the_guard_is_a_warning():
    (one,) = found([GUARDING, COMMON, CORS])
    assert (one.id, one.level) == ("fbguard.W001", WARNING)
    assert one.hint.index(CORS) < one.hint.index(GUARDING)
    assert "above" in one.hint


@pytest.mark.parametrize("options", [COOKIE, QUERY])
def test_a_cache_below_the_guard_is_an_error(options):
    (one,) = found([GUARDING, UPDATE, FETCH], **options)
    assert (one.id, one.level) == ("fbguard.E004", ERROR)
    assert one.hint.index(UPDATE) < one.hint.index(GUARDING)
    assert "cookie or query" in one.msg


@pytest.mark.parametrize("door", ["fbguard.asgi.FBTokenMiddleware", "fbguard.wsgi.FBTokenMiddleware"])
def test_a_door_of_whole_apps_is_no_middleware_of_django(door):
    (one,) = found([COMMON, door], policy=Policy())
    assert (one.id, one.level) == ("fbguard.E005", ERROR)
    assert repr(door) in one.msg
    assert repr(GUARDING) in one.hint
    assert [one.id for one in found([door, CORS])] == ["fbguard.E005", "fbguard.W001"]
    assert [one.id for one in found([door], token_from=["cookie"])] == ["fbguard.E005", "fbguard.E001"]


def test_and_is_none_where_nothing_else_speaks_of_fbguard():
    with override_settings(MIDDLEWARE=["fbguard.wsgi.FBTokenMiddleware"]):
        assert "fbguard.E005" in [one.id for one in run_checks()]


@pytest.mark.parametrize("order", [[GUARDING, GUARDING], [GUARDING, COMMON, GUARDING, GUARDING]])
def test_a_guard_that_stands_there_twice_is_a_warning(order):
    (one,) = found(order)
    assert (one.id, one.level) == ("fbguard.W002", WARNING)
    assert GUARDING in one.hint


def test_all_that_is_wrong_with_the_order_is_said():
    assert [one.id for one in found([GUARDING, UPDATE, CORS], **COOKIE)] == ["fbguard.W001", "fbguard.E004"]


def test_wrong_options_are_said_before_the_order():
    wrong = found([GUARDING, UPDATE, CORS], token_from=["cookie"])
    assert [one.id for one in wrong] == ["fbguard.E001"]
    wrong = found([GUARDING, UPDATE, CORS], policy="no.such.policy", **COOKIE)
    assert [one.id for one in wrong] == ["fbguard.E002"]
    assert [one.id for one in found([], policy="no.such.policy")] == ["fbguard.E002"]


def test_a_site_without_fbguard_hears_nothing():
    with override_settings(MIDDLEWARE=[UPDATE, CORS]):
        assert [one for one in run_checks() if (one.id or "").startswith("fbguard.")] == []


def test_manage_py_check_fails_for_an_error_only():
    options = {"app_id": APP_ID, "app_secret": SECRET, "transport": FakeGraph()}
    with override_settings(MIDDLEWARE=[GUARDING, UPDATE], FBGUARD=options | COOKIE):
        with pytest.raises(SystemCheckError, match="E004") as failed:
            call_command("check", tags=["security"])
        assert SECRET not in str(failed.value)
    with override_settings(MIDDLEWARE=[GUARDING, CORS], FBGUARD=options):
        call_command("check", tags=["security"])  # a warning, not an error
