"""Where a guard's options come from."""

from __future__ import annotations

import traceback

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.stores.memory import MemoryStore
from tests.support import APP_ID, SECRET, TOKEN, FakeClock, FakeGraph, make_guard, valid


def test_a_store_is_one():
    make_guard(store=None).close()
    make_guard(store=MemoryStore()).close()
    with pytest.raises(TypeError, match=r"store must be .* space\(\)"):
        make_guard(store=object())
    make_guard(store="redis://127.0.0.1").close()
    with pytest.raises(ValueError, match="store"):
        make_guard(store="http://127.0.0.1")


@pytest.mark.parametrize("value", [0, None, 1, "yes"])
def test_limited_login_is_true_or_false(value):
    make_guard(limited_login=True).close()
    with pytest.raises(TypeError, match="limited_login"):
        make_guard(limited_login=value)


@pytest.mark.parametrize("limited_login", [True, False])
@pytest.mark.parametrize("url", ["http://keys.example/jwks", "https://user@keys.example/", "keys", ""])
def test_where_the_keys_are_is_checked_whether_they_are_needed_or_not(limited_login, url):
    with pytest.raises(ValueError, match="jwks_url"):
        make_guard(limited_login=limited_login, jwks_url=url)
    with pytest.raises(TypeError, match="jwks_url"):
        make_guard(limited_login=limited_login, jwks_url=None)


@pytest.mark.parametrize("options", [{"token_from": ["header"]}, {"trusted_proxies": []}])
def test_a_default_spelled_as_a_list(options):
    make_guard(**options).close()


def test_an_unknown_option():
    with pytest.raises(TypeError, match="verify"):
        make_guard(verify=False)


def test_options_are_keywords():
    with pytest.raises(TypeError):
        Guard(APP_ID, SECRET)


class _NoClock:
    time = None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("transport", httpx.HTTPTransport),
        ("transport", "http://proxy"),
        ("transport", httpx.BaseTransport()),
        ("clock", object()),
        ("clock", _NoClock()),
        ("clock", FakeClock),
    ],
)
def test_objects_that_are_not_what_the_option_takes(option, value):
    with pytest.raises(TypeError, match=option):
        make_guard(**{option: value})


ENVIRONMENT = {
    "FBGUARD_APP_ID": "42",
    "FBGUARD_APP_SECRET": f"{SECRET},older",
    "FBGUARD_GRAPH_URL": "http://127.0.0.1:9/graph",
    "FBGUARD_GRAPH_VERSION": "v25.0",
    "FBGUARD_DIALOG_URL": "https://dialog.example",
    "FBGUARD_REDIRECT_URI": "https://app.example/back",
    "FBGUARD_TTL": "100",
    "FBGUARD_NEGATIVE_TTL": "10",
    "FBGUARD_DEADLINE": "2.5",
    "FBGUARD_STALE_IF_ERROR": "0",
}


@pytest.fixture
def environ(monkeypatch):
    for name in (*ENVIRONMENT, "FBGUARD_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_from_env(environ, clock):
    graph = FakeGraph()
    graph.default = valid(app_id="42")
    with Guard.from_env(transport=graph, clock=clock) as guard:
        assert guard.app_id == "42"
        guard.check(TOKEN)
        request = graph.requests[0]
        assert str(request.url).startswith("http://127.0.0.1:9/graph/v25.0/debug_token?")
        assert request.headers["Authorization"] == f"Bearer 42|{SECRET}"
        clock.advance(100)
        guard.check(TOKEN)
        assert len(graph.calls) == 2
        with pytest.raises(Refused) as caught:
            guard.check(None)
        assert caught.value.relogin.url.startswith("https://dialog.example/v25.0/dialog/oauth?client_id=42&")
        assert guard._deadline == 2.5


def test_overrides_win_over_the_environment(environ):
    environ.setenv("FBGUARD_TTL", "nonsense")
    with Guard.from_env(app_id="43", ttl=5, transport=FakeGraph()) as guard:
        assert guard.app_id == "43"


@pytest.mark.parametrize("name", ["FBGUARD_APP_ID", "FBGUARD_APP_SECRET"])
def test_what_the_environment_must_have(environ, name):
    environ.delenv(name)
    with pytest.raises(ValueError, match=name):
        Guard.from_env()


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("FBGUARD_TTL", "soon", "FBGUARD_TTL"),
        ("FBGUARD_TTL", "0", "ttl"),
        ("FBGUARD_DEADLINE", "nan", "deadline"),
        ("FBGUARD_NEGATIVE_TTL", "inf", "negative_ttl"),
        ("FBGUARD_STALE_IF_ERROR", "-1", "stale_if_error"),
        ("FBGUARD_REDIS_URL", "redis://:geheim@127.0.0.1/x", "^FBGUARD_REDIS_URL: .* must be a number"),
        ("FBGUARD_REDIS_URL", "geheim", "^FBGUARD_REDIS_URL: "),
        ("FBGUARD_REDIS_URL", "", "^FBGUARD_REDIS_URL: not a URL"),
        ("FBGUARD_GRAPH_URL", "http://graph.facebook.com", "graph_url"),
        ("FBGUARD_GRAPH_VERSION", "26", "graph_version"),
        ("FBGUARD_APP_ID", "", "app_id"),
    ],
)
def test_what_the_environment_must_not_have(environ, name, value, named):
    environ.setenv(name, value)
    with pytest.raises(ValueError, match=named) as caught:
        Guard.from_env()
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "meant"),
    [("tll", "ttl"), ("stale_if_eror", "stale_if_error"), ("limitedlogin", "limited_login")],
)
def test_an_option_that_is_nearly_one_is_named(option, meant):
    with pytest.raises(TypeError, match=f"{option!r}; is it {meant!r}"):
        make_guard(**{option: 1})


def test_and_one_that_is_near_to_none_is_not():
    with pytest.raises(TypeError, match=r"'quux'$"):
        make_guard(quux=1)


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"APP_ID": APP_ID, "APP_SECRET": SECRET}, "^Guard has no option 'APP_ID'; is it 'app_id'"),
        ({"app_id": APP_ID, "secret": SECRET}, "^Guard has no option 'secret'; is it 'app_secret'"),
        ({"app_id": APP_ID, "app_secret": SECRET, "TTL": 1}, "^Guard has no option 'TTL'; is it 'ttl'"),
        ({"app_id": APP_ID}, "^app_secret is missing$"),
        ({"app_secret": SECRET, "ttl": 1}, "^app_id is missing$"),
    ],
)
def test_what_a_mapping_nearly_has_is_named_before_what_is_missing(mapping, says):
    with pytest.raises(TypeError, match=says) as caught:
        Guard.from_mapping(mapping)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ['"{}"', "'{}'", ' "{}" ', '"{}","older"', "older,'{}'", '"{},older"'])
@pytest.mark.parametrize("name", ["FBGUARD_APP_SECRET", "FBGUARD_APP_ID", "FBGUARD_GRAPH_URL", "FBGUARD_TTL"])
def test_quotes_that_a_shell_would_have_taken_away(environ, name, value):
    environ.setenv(name, value.format(SECRET))
    with pytest.raises(ValueError, match=f"^{name} has quotes around it") as caught:
        Guard.from_env()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert SECRET not in "".join(shown.format())


def test_a_quote_at_one_end_is_no_pair(environ):
    environ.setenv("FBGUARD_APP_SECRET", f'"{SECRET}')
    Guard.from_env(transport=FakeGraph()).close()
