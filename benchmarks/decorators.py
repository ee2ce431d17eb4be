"""What ``require_fb_token`` costs below a door that guards: ``python -m benchmarks.decorators``.

Beside a decorator that does nothing, in a process into which no framework is loaded. Each request goes
through the door; the clock runs while its view does, so that the door's time drowns nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.hit import POLICY
from benchmarks.lines import Line, about, added_ratio, as_data, heading, lines_of, table
from benchmarks.peers import check
from benchmarks.peers_bare import has_facts
from benchmarks.requests import in_turn, requests_with
from benchmarks.sides import AsgiSide, Side, WsgiSide, asgi_app, wsgi_app
from benchmarks.timing import Slice, by_rounds
from benchmarks.world import TOKENS, Row, World, world
from fbguard import asgi, wsgi
from fbguard.asgi import ASGIApp, Receive, Scope, Send
from fbguard.decorator import require_fb_token

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

VIEW, NOTHING, REQUIRE = "view", "view + a decorator that does nothing", "view + require_fb_token"
PROTOCOLS: Final = ("ASGI", "WSGI")


async def _asgi_view(scope: Scope, receive: Receive, send: Send) -> None:
    await asgi_app(scope, receive, send)


def _wsgi_view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return wsgi_app(environ, start_response)


def _async_nothing(view: ASGIApp) -> ASGIApp:
    @functools.wraps(view)
    async def wrapped(*args: Any, **kwargs: Any) -> None:
        await view(*args, **kwargs)

    return wrapped


def _nothing(view: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    @functools.wraps(view)
    def wrapped(*args: Any, **kwargs: Any) -> Iterable[bytes]:
        return view(*args, **kwargs)

    return wrapped


class Clock:
    """Stands between a door and a view and adds up the seconds that the view takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around_async(self, view: ASGIApp) -> ASGIApp:
        """Return an ASGI app."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            started = perf_counter()
            await view(scope, receive, send)
            self.seconds += perf_counter() - started

        return app

    def around(self, view: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Return a WSGI app."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            started = perf_counter()
            body = view(environ, start_response)
            self.seconds += perf_counter() - started
            return body

        return app


@dataclass(frozen=True, slots=True)
class Timed:
    """A row and the clock in it."""

    row: Row
    clock: Clock

    def slice(self, side: Side) -> Slice:
        """Return what the timing calls."""
        requests = requests_with(TOKENS.good)

        def serve(count: int) -> float:
            self.clock.seconds = 0.0
            side.serve(self.row.app, list(in_turn(requests, count)), self.row.proof)
            return self.clock.seconds

        return serve


def rows(place: World) -> dict[str, Timed]:
    """Return a door's rows in both protocols: around a view, and around each decorator on it."""
    require = require_fb_token(scopes=["email"])
    views: dict[str, dict[str, Any]] = {
        "ASGI": {VIEW: _asgi_view, NOTHING: _async_nothing(_asgi_view), REQUIRE: require(_asgi_view)},
        "WSGI": {VIEW: _wsgi_view, NOTHING: _nothing(_wsgi_view), REQUIRE: require(_wsgi_view)},
    }
    found: dict[str, Timed] = {}
    for protocol, of_protocol in views.items():
        door: Any = asgi.FBTokenMiddleware if protocol == "ASGI" else wsgi.FBTokenMiddleware
        for name, view in of_protocol.items():
            clock = Clock()
            timed = clock.around_async(view) if protocol == "ASGI" else clock.around(view)
            app = door(timed, place.guard, policy=POLICY)
            base = None if name == VIEW else f"{protocol} {VIEW}"
            found[f"{protocol} {name}"] = Timed(
                Row(protocol=protocol, app=app, base=base, proof=has_facts), clock
            )
    return found


def measure(*, rounds: int, requests: int) -> list[Line]:
    """Check and time the rows."""
    with world() as place, asyncio.Runner() as runner:
        sides: dict[str, Side] = {"ASGI": AsgiSide(runner), "WSGI": WsgiSide()}
        contenders = rows(place)
        for name, one in contenders.items():
            check(name, one.row, sides[one.row.protocol])
        slices = {name: one.slice(sides[one.row.protocol]) for name, one in contenders.items()}
        means = by_rounds(slices, rounds=rounds, requests=requests)
    return lines_of(means, {name: one.row.base for name, one in contenders.items()})


def ratio(lines: Sequence[Line], protocol: str) -> float | None:
    """Return what require_fb_token adds over what the idle decorator adds."""
    return added_ratio(lines, f"{protocol} {REQUIRE}", f"{protocol} {NOTHING}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decorators", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how often each row has its turn")
    parser.add_argument("--requests", type=int, default=200, help="of one turn")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    if min(given.rounds, given.requests) < 1:
        parser.error("--rounds and --requests must be at least 1")
    lines = measure(rounds=given.rounds, requests=given.requests)
    if given.json:
        print(json.dumps({"about": about(), "lines": as_data(lines)}))
        return
    print(heading(about()), "", *table(lines, "microseconds per call"), "", sep="\n")
    for protocol in PROTOCOLS:
        found = ratio(lines, protocol)
        shown = "-" if found is None else f"{found:.1f}"
        print(f"{protocol}: require_fb_token adds {shown} x what the idle decorator adds")


if __name__ == "__main__":
    main()
