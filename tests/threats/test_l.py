"""Rows L: the sweep. Canaries in every place of a request and a reply come out nowhere."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import base64
import logging
import sys
import traceback
from urllib.parse import quote_plus

import pytest

from fbguard import Policy, events
from fbguard.core import errors, signing, validator
from fbguard.core.answers import Answer
from fbguard.core.secret import Secret
from tests.support import make_guard
from tests.threats.canaries import CANARIES, everything_logged, leaks, shown_exception, shown_locals
from tests.threats.requests import DENIAL, WIDE, bearer, cookie, shake_hands
from tests.threats.sweep import OUTCOMES, SECRETS, Hostile, spied, sweep


@pytest.fixture
def spy(monkeypatch):
    with spied(monkeypatch) as spy:
        yield spy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "place"),
    [*((outcome, "query") for outcome in OUTCOMES), ("valid", "header"), ("bug", "header")],
)
def test_L01_L02_L04_sweep_of_the_doors(door, spy, capfd, recwarn, outcome, place):
    with everything_logged() as log:
        found = sweep(door, spy, outcome, place)
    assert found == {}
    assert leaks("\n".join(log.shown)) == set()
    assert "fbguard" in log.names
    assert leaks("".join(capfd.readouterr()) + "".join(str(warning.message) for warning in recwarn)) == set()
    looked_at = "\n".join(spy.shown)
    assert all(place in looked_at for place in ("approach", "GraphClient.get", "_look_up", "_fly"))
    assert {400, 401, 204} <= spy.statuses
    assert (200 in spy.statuses, 403 in spy.statuses) == (True, outcome == "valid")  # /public is always 200
    assert len(CANARIES) >= 20


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_L04_sweep_of_handshakes(spy, outcome, capfd):
    token = CANARIES["subprotocol token"]
    same = [("Host", "a"), ("Origin", "https://a")]
    handshakes = [
        {"subprotocols": ("bearer", token)},
        {"subprotocols": ("bearer", f"{token}|")},
        {"subprotocols": ("bearer", token, "bearer", CANARIES["second token"])},
        {"subprotocols": (token,)},
        {"headers": [bearer(CANARIES["user token"])]},
        {"headers": [cookie(CANARIES["cookie token"])]},
        {"headers": [cookie(CANARIES["cookie token"]), *same]},
        {"query": f"access_token={CANARIES['query token']}"},
        {"path": f"/{CANARIES['path']}//"},
    ]
    sent = []
    with everything_logged() as log:
        for handshake in handshakes:
            for more in ({}, DENIAL):
                with make_guard(
                    Hostile(OUTCOMES[outcome], spy), app_secret=SECRETS, token_from=WIDE
                ) as guard:
                    sent += shake_hands(guard, policy=Policy(), **handshake, **more)
    assert len(sent) >= len(handshakes)
    for shown in (repr(sent), "\n".join(log.shown), "\n".join(spy.shown), "".join(capfd.readouterr())):
        assert leaks(shown) == set()


# -- the search and the sweep can fail ---------------------------------------------------------------------

DRESSES = {
    "clear": str,
    "reversed": lambda text: text[::-1],
    "url": lambda text: quote_plus(f"x={text}&"),
    "every byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "bytes": lambda text: repr(text.encode()),
    **{
        f"base64 +{before} {encode.__name__}": lambda text, before=before, encode=encode: encode(
            f"{'x' * before}{text}&more".encode()
        ).decode()
        for before in range(4)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    },
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("name", CANARIES)
def test_the_search_finds(name, dress):
    secret = CANARIES[name]
    assert leaks(f"{{'a': '{DRESSES[dress](secret)}'}}") == {name}
    for start in (0, 5, len(secret) - 24):
        assert name in leaks(f"x {DRESSES[dress](secret[start : start + 24])} y")


def test_the_search_finds_twelve_characters_and_no_less():
    secret = CANARIES["user token"]
    assert leaks(f"... {secret[30:42]} ...") == {"user token"}
    assert leaks(f"... {secret[30:41]} ... {secret[42:53]}") == set()
    assert leaks("Bearer realm, access_token=*** The access token is not valid. 1234567890|***") == set()


def plant_repr(patch):
    patch.setattr(Secret, "__repr__", Secret.reveal)


def plant_problem(patch):
    def problem(*_, **__):
        return Answer(401, [("X-Debug", CANARIES["app secret"][3:17])], b"")

    patch.setattr(errors, "render", problem)


def plant_log(patch):
    say = validator.key_of
    patch.setattr(validator, "key_of", lambda token: events.logger.debug(token.reveal()) or say(token))


def plant_fingerprint(patch):
    patch.setattr(signing.Signer, "fingerprint", lambda _, token: token.reveal()[-12:])


def plant_stderr(patch):
    say = validator.key_of
    patch.setattr(validator, "key_of", lambda token: print(token.reveal(), file=sys.stderr) or say(token))


@pytest.mark.parametrize(
    ("plant", "channel"),
    [
        (plant_repr, "locals"),
        (plant_problem, "replies"),
        (plant_log, "log"),
        (plant_fingerprint, "log"),
        (plant_fingerprint, "locals"),
        (plant_stderr, "output"),
    ],
)
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_the_sweep_finds(make_door, monkeypatch, capfd, kind, plant, channel):
    with monkeypatch.context() as patch:
        plant(patch)
        with spied(patch) as spy, everything_logged() as log:
            found = sweep(lambda guard, **more: make_door(kind, guard, **more), spy, "expired", "query")
    if channel == "log":
        found["log"] = leaks("\n".join(log.shown))
    if channel == "output":
        found["output"] = leaks("".join(capfd.readouterr()))
    assert found.get(channel), f"{plant.__name__} went unseen"


def test_the_sweep_sees_locals_of_ours_and_their_insides():
    def careless(token: str) -> str:
        given = [{"deep": token}]  # noqa: F841 - what a debug page shows
        return shown_locals(traceback.walk_stack(sys._getframe()))

    assert leaks(careless(CANARIES["user token"])) == set()  # a frame of the test's
    careless.__code__ = careless.__code__.replace(co_filename=validator.__file__)
    assert leaks(careless(CANARIES["user token"])) == {"user token"}


@pytest.mark.parametrize("where", ["cause", "context", "note", "attribute", "argument"])
def test_the_sweep_sees_what_hangs_on_an_exception(where):
    def fail() -> None:
        try:
            raise ValueError(CANARIES["exception"] if where in {"cause", "context"} else "")
        except ValueError as inner:
            outer = RuntimeError("x", CANARIES["exception"] if where == "argument" else "")
            if where == "note":
                outer.add_note(CANARIES["exception"])
            if where == "attribute":
                outer.url = CANARIES["exception"]
            raise outer from (inner if where == "cause" else None)

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert leaks(shown_exception(caught.value)) == {"exception"}


def test_the_sweep_sees_every_logger():
    with everything_logged() as log:
        logging.getLogger("asyncio").debug("%s", CANARIES["echo"])
    assert leaks("\n".join(log.shown)) == {"echo"}
