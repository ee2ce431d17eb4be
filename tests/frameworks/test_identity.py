"""Every answer is to the one who asked: under load, and whatever a client calls itself."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.frameworks.apps import SPOOFED, App
from tests.frameworks.crowd import ROUND, THREADS, WORKERS, Crowd, left, left_in_threads
from tests.frameworks.serving import POLL, STARTING, Farm, Kind, Served, serving
from tests.servers.raw import Reply

CROWDED = {
    "flask-gunicorn": Kind(App("flask", "left:wsgi_app", asgi=False), "gunicorn"),
    "flask-gevent": Kind(App("flask", "left:wsgi_app", asgi=False), "gunicorn-gevent"),
    "starlette-uvicorn": Kind(App("starlette", "left:asgi_app", asgi=True), "uvicorn"),
}
SPELLINGS = (
    "X-FB-User-Id",
    "x-fb-user-id",
    "X_FB_User_Id",
    "X-Fb_User-ID",
    "X-FBGuard-Token",
    "fbguard.token",
    "HTTP_FBGUARD.TOKEN",
    "state.fb_token",
    "fb_token",
    "X-Forwarded-User",
    "Remote-User",
    "REMOTE_USER",
)


CROWDS = [
    *(pytest.param(kind, 2_000, id=f"2000-{name}") for name, kind in CROWDED.items()),
    *(
        pytest.param(CROWDED[name], 50_000, id=f"50000-{name}", marks=pytest.mark.slow)
        for name in ("flask-gunicorn", "starlette-uvicorn")
    ),
]


@pytest.mark.parametrize(("kind", "count"), CROWDS)
def test_I04_nobody_is_taken_for_another(kind: Kind, count: int, farm: Farm):
    with serving(kind, farm.sandbox, farm.graph, threads=WORKERS) as served:
        seen = Crowd(served.port, farm.sandbox).ask(count)
        assert [text for one in seen for text in one.mixed_up][:5] == []
        statuses = sum((one.statuses for one in seen), Counter())
        assert statuses.total() == count
        assert abs(statuses[401] - count / len(ROUND)) <= THREADS
        assert abs(sum(one.streamed for one in seen) - count / len(ROUND)) <= THREADS
        check_nothing_is_left(served)
        assert served.records() == []


def check_nothing_is_left(served: Served) -> None:
    found = left_in_threads(served.port)
    assert [one for one in found if not one["nothing"] or one["user"] is not None] == []
    if not served.kind.app.asgi:
        assert len({one["thread"] for one in found}) == WORKERS  # each of them was asked
    deadline = time.monotonic() + STARTING
    while held := left(served.port, "?held")["held"]:
        assert time.monotonic() < deadline, f"{held} requests are still there"
        time.sleep(POLL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "known"), [("/me", True), ("/email", True), ("/optional", False), ("/health", True)]
)
def test_I01_a_client_cannot_name_itself(path: str, known: bool, served: Served, farm: Farm):
    token = farm.sandbox.issue_token(user_id="1001", scopes=["email"])
    fields = [f"Authorization: Bearer {token}"] if known else []
    user = "1001" if known and path != "/health" else None
    expected = {"view": path[1:], "user": user, "carried": user}
    for spelling in SPELLINGS:
        spoofed = served.send(path, [f"{spelling}: {SPOOFED}", *fields])
        assert said(spoofed) == (200, expected), spelling


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_I01_nor_get_in(spelling: str, served: Served):
    reply = served.send("/me", [f"{spelling}: {SPOOFED}"])
    assert (reply.status, reply.reason) == (401, "missing_token")


def said(reply: Reply) -> tuple[int, object]:
    return reply.status, reply.json if reply.status == 200 else reply.body
