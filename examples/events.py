"""What happens to the guard, as numbers for a metrics page.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.events:app

Each token that has to be looked up, each session that ends and each trouble is counted::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
    curl http://127.0.0.1:8000/metrics
"""

from collections import Counter
from threading import Lock

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.events import Event, TokenLookedUp

numbers: Counter[str] = Counter()
lock = Lock()


def on_event(event: Event) -> None:
    # Called on event loops and in threads, so it only counts. No event holds a token, and a label has no
    # more values here than there are kinds of events and answers: a fingerprint would be no label.
    with lock:
        if isinstance(event, TokenLookedUp):
            numbers[f'fbguard_look_ups_total{{answer="{event.answer}"}}'] += 1
        else:
            numbers[f'fbguard_events_total{{event="{type(event).__name__}"}}'] += 1


guard = Guard.from_env(on_event=on_event)


async def me(_request: Request) -> JSONResponse:
    return JSONResponse({"user": current_token(required=True).user_id})


async def metrics(_request: Request) -> PlainTextResponse:
    with lock:
        lines = [f"{name} {number}" for name, number in sorted(numbers.items())]
    return PlainTextResponse("\n".join([*lines, f"fbguard_cached_tokens {guard.health().cached}", ""]))


app = FBTokenMiddleware(
    Starlette(routes=[Route("/me", me), Route("/metrics", metrics)]),
    guard,
    # In production a metrics page belongs on an address of its own.
    policy=Policy(Rule("/metrics", public=True)),
)
