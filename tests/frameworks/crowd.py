"""Many users at once, on connections that are kept alive and shared by all of them."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fbguard.sandbox import Sandbox
from tests.servers.raw import HOST, PATIENCE

USERS = 50
THREADS = 64
WORKERS = 8  # threads of gunicorn
LEFT = "/left"
#: What one connection asks, in turn: the path and whether it sends its user's token.
ROUND = (
    ("/me", True),
    ("/email", True),
    ("/optional", False),
    ("/me", True),
    ("/stream", True),
    ("/me", False),
    ("/optional", True),
)


@dataclass
class Seen:
    """What the answers of one thread said."""

    statuses: Counter[int] = field(default_factory=Counter)
    streamed: int = 0
    mixed_up: list[str] = field(default_factory=list)


class Crowd:
    """The users of a server, each with a token."""

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self._port = port
        self._users = [str(2000 + number) for number in range(USERS)]
        self._headers = [
            sandbox.bearer(sandbox.issue_token(user_id=user, scopes=["email"])) for user in self._users
        ]

    def ask(self, count: int) -> list[Seen]:
        """Send that many requests in all."""
        barrier = threading.Barrier(THREADS)
        share, more = divmod(count, THREADS)

        def one(number: int) -> Seen:
            barrier.wait(PATIENCE)
            return self._ask(number, share + (number < more))

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, range(THREADS)))

    def _ask(self, number: int, count: int) -> Seen:
        seen = Seen()
        connection = http.client.HTTPConnection(HOST, self._port, timeout=6 * PATIENCE)
        try:
            for step in range(number, number + count):
                path, known = ROUND[step % len(ROUND)]
                user = (step * 7 + number) % USERS
                connection.request("GET", path, headers=self._headers[user] if known else {})
                socket = connection.sock
                response = connection.getresponse()
                self._look(seen, path, self._users[user] if known else None, response.status, response.read())
                assert connection.sock is socket is not None, "the connection was not kept alive"
        finally:
            connection.close()
        return seen

    @staticmethod
    def _look(seen: Seen, path: str, user: str | None, status: int, body: bytes) -> None:
        seen.statuses[status] += 1
        if path == "/me" and user is None:
            right = status == 401 and b'"missing_token"' in body
        else:
            seen.streamed += path == "/stream"
            right = status == 200 and json.loads(body) == {"view": path[1:], "user": user, "carried": user}
        if not right:
            seen.mixed_up.append(f"{path} of {user}: {status} {body!r}")


def left(port: int, query: str = "") -> dict[str, Any]:
    """Ask what is left of all that."""
    connection = http.client.HTTPConnection(HOST, port, timeout=6 * PATIENCE)
    try:
        connection.request("GET", LEFT + query)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def left_in_threads(port: int) -> list[dict[str, Any]]:
    """Ask as many times at once as the server has threads."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda _: left(port), range(WORKERS)))
