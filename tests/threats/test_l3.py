"""Rows L: secrets in configuration that is refused, and in the objects that users hold."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from flask import Flask

from fbguard import Guard, Policy, Refused, Requirement, Rule, wsgi
from fbguard.core.secret import Secret
from tests.support import APP_ID, dead, make_guard
from tests.threats.canaries import CANARIES, leaks, shown_exception
from tests.threats.sweep import SECRETS

SECRET, OLDER, TAKEN = *SECRETS, CANARIES["secret of the environment"]
BROKEN = CANARIES["malformed app secret"]

# -- configuration -----------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"app_id": APP_ID, "app_secret": [SECRET, OLDER]}
WRONG: list[dict[str, Any]] = [
    {"ttl": 0},
    {"ttl": "x"},
    {"app_id": ""},
    {"app_id": 5},
    {"deadline": float("nan")},
    {"cache_size": 0},
    {"graph_url": "http://graph.facebook.com"},
    {"graph_version": "26"},
    {"redirect_uri": "x"},
    {"realm": '"'},
    {"token_from": "header"},
    {"token_from": ["cookie"]},
    {"clock": 5},
    {"transport": 5},
    {"credential_in": "body"},
    {"batch": "yes"},
    {"limited_login": "yes"},
    {"jwks_url": "http://www.facebook.com/jwks"},
    {"store": "redis://"},
    {"unknown": 1},
    {"app_secret": BROKEN},
    {"app_secret": [SECRET, BROKEN]},
    {"app_secret": (SECRET, f"{OLDER}\n")},
    {"app_secret": [SECRET, None]},
    {"app_secret": [[SECRET, OLDER]], "app_id": ""},
    {"app_secret": []},
]


def construction(make: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    return shown_exception(caught.value)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: ascii(wrong)[:40])
def test_L03_L04_construction_errors(wrong):
    for make in (lambda: Guard(**GOOD | wrong), lambda: Guard.from_mapping(GOOD | wrong)):
        shown = construction(make)
        assert "__init__" in shown
        assert leaks(shown) == set()


def test_L04_a_mapping_that_lacks_something():
    for mapping in ({"app_secret": SECRET}, {"app_secret": SECRET, 5: 5}, {**GOOD, 5: 5}):
        assert leaks(construction(lambda mapping=mapping: Guard.from_mapping(mapping))) == set()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FBGUARD_TTL", "soon"),
        ("FBGUARD_TTL", "-1"),
        ("FBGUARD_APP_ID", ""),
        ("FBGUARD_APP_ID", None),
        ("FBGUARD_GRAPH_URL", "x"),
        ("FBGUARD_REDIS_URL", "redis://"),
        ("FBGUARD_APP_SECRET", BROKEN),
        ("FBGUARD_APP_SECRET", f"{TAKEN},{BROKEN}"),
        ("FBGUARD_APP_SECRET", f"{TAKEN},"),
    ],
)
@pytest.mark.parametrize("overrides", [{}, {"ttl": -1}, {"app_secret": [SECRET, OLDER], "ttl": 0}])
def test_L04_errors_of_from_env(monkeypatch, variable, value, overrides):
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.setenv("FBGUARD_APP_SECRET", f"{TAKEN},{OLDER}")
    monkeypatch.setenv("DATABASE_PASSWORD", CANARIES["other header"])
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    shown = construction(lambda: Guard.from_env(**overrides))
    assert "from_env" in shown
    assert leaks(shown) == set()


# Options of a framework are config, whose repr shows the whole of it.
def test_L04_errors_of_flasks_config():
    flask_guard = pytest.importorskip("fbguard.integrations.flask").FBGuard
    good = {"FBGUARD_APP_ID": APP_ID, "FBGUARD_APP_SECRET": SECRET, "SECRET_KEY": CANARIES["other header"]}
    for wrong in (
        {"FBGUARD_TTL": 0},
        {"FBGUARD_APP_ID": ""},
        {"FBGUARD_POLICY": {"rules": [{}]}},
        {"FBGUARD_X": 1},
    ):
        app = Flask("configured")
        app.config.update(good | wrong)
        shown = construction(lambda app=app: flask_guard(app))
        assert "init_app" in shown
        assert leaks(shown) == set()


# -- objects -----------------------------------------------------------------------------------------------


def public_objects(guard: Guard) -> list[Any]:
    info = guard.check(CANARIES["user token"])
    with pytest.raises(Refused) as caught:
        guard.check(CANARIES["dead token"], Requirement(scopes=["email"]))
    refused = caught.value
    door = wsgi.FBTokenMiddleware(Flask("x"), guard)
    rule = Rule("/x/{page}", scopes=["email"], target="page")
    objects = [guard, info, info.granular_scopes, refused, refused.relogin, refused.answer(), door]
    return [
        *objects,
        rule,
        rule.requirement,
        Policy(rule),
        guard.sources,
        Secret(SECRET),
        guard._graph,
        guard._validator,
    ]


def test_L03_repr_str_vars_pickle_asdict(graph):
    graph.replies[CANARIES["dead token"]] = dead(190, 463, CANARIES["echo"])
    with make_guard(graph, app_secret=SECRETS) as guard:
        objects = public_objects(guard)
        shown = [f"{objects} {thing} {thing!r} {thing!s:>9}" for thing in objects for thing in (thing,)]
        shown += [repr(vars(thing)) for thing in objects if hasattr(thing, "__dict__")]
        shown += [repr(sorted(dir(thing))) for thing in objects]
        pickled = []
        for thing in objects:
            for copying in (pickle.dumps, copy.copy, copy.deepcopy, dataclasses.asdict, dataclasses.astuple):
                try:
                    shown.append(f"{copying(thing)!r}")
                    pickled.append(type(thing).__name__)
                except Exception as exc:
                    shown.append(shown_exception(exc))
        assert {"TokenInfo", "Refused", "Requirement", "Answer"} <= set(pickled)
        assert not {"Guard", "Secret"} & {name for name in pickled if name == "Secret"}
    assert leaks("\n".join(shown)) == set()


def test_L03_a_copy_of_a_guard_shows_no_more(graph):
    with make_guard(graph, app_secret=SECRETS) as guard:
        for copying in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as caught:
                copying(guard)
            assert leaks(shown_exception(caught.value)) == set()
