"""``POST /`` with ``batch``: up to 50 calls in one, each answered as if it had come alone.

The shapes are those of the Graph API batch requests guide; ``{result=...}`` references between items
and attached files are not followed. What is wrong with a batch as a whole is refused before any item
is answered, so that a refused batch has changed nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from fbguard.sandbox.access import identified
from fbguard.sandbox.errors import GraphError
from fbguard.sandbox.wire import Reply, Request, json_reply
from fbguard.sandbox.world import World

# Graph's answer to a call that is no batch; handed in, since it leads here in its turn.
Single = Callable[[World, Request, float], Reply]

MAX_ITEMS = 50
_OK = 200
_FORM = "application/x-www-form-urlencoded"
_FALSE = frozenset({"false", "0"})
_NOT_CAPABLE = "(#3) Application does not have the capability to make this API call."
_NO_ARRAY = "(#100) Param batch must be a JSON-encoded array of requests"
_EMPTY = "(#100) Param batch must hold at least one request"
_TOO_MANY = f"(#100) Too many requests in batch message. Maximum batch size is {MAX_ITEMS}"


def batch(world: World, request: Request, now: float, *, single: Single) -> Reply:
    """Answer with one object for each item, in the order of the request; ``single`` answers an item.

    The call needs a living token even if every item brings its own. An item that is not finished in
    time, or that succeeded and asked for silence then, is null. Raises GraphError for the whole: 104
    or 190 for the token, 3 where the app may not batch, 100 for what cannot be read as a batch.
    """
    identified(world, request, now)
    mood = world.batching
    if not mood.allowed:
        raise GraphError(_NOT_CAPABLE, 3)
    items = [_item(item, position) for position, item in enumerate(_items(request.param("batch") or ""))]
    calls = [_call(item, request, position) for position, item in enumerate(items)]
    told = (request.param("include_headers") or "").lower() not in _FALSE
    finished = max(len(items) - mood.unfinished, 0)
    answers = [
        _answer(single(world, call, now), item, told)
        for item, call in zip(items[:finished], calls[:finished], strict=True)
    ]
    return json_reply(answers + [None] * (len(items) - finished))


def _items(sent: str) -> list[object]:
    try:
        read = json.loads(sent)
    except (ValueError, RecursionError):
        raise GraphError(_NO_ARRAY, 100) from None
    if not isinstance(read, list):
        raise GraphError(_NO_ARRAY, 100)
    items = cast("list[object]", read)
    if not items:
        raise GraphError(_EMPTY, 100)
    if len(items) > MAX_ITEMS:
        raise GraphError(_TOO_MANY, 100)
    return items


def _item(item: object, position: int) -> Mapping[str, object]:
    if not isinstance(item, dict):
        raise GraphError(f"(#100) Param batch[{position}] must be an object", 100)
    return cast("dict[str, object]", item)


def _call(item: Mapping[str, object], outer: Request, position: int) -> Request:
    """Return an item as the call that it stands for, with the batch's token unless it has its own."""
    method = _text(item, "method", position)
    target = _text(item, "relative_url", position).lstrip("/")
    body = _text(item, "body", position, "")
    # A body of an item is a form without saying so.
    call = Request.of(method, f"/{target}", [("Content-Type", _FORM), *_headers(item)], body.encode())
    if call.method == "POST" and call.param("batch") is not None:
        raise GraphError(f"(#100) Param batch[{position}] must not be a batch itself", 100)
    return call if call.param("access_token") else _with_token_of(outer, call)


def _text(item: Mapping[str, object], name: str, position: int, default: str | None = None) -> str:
    value = default if item.get(name) is None else item[name]
    if not isinstance(value, str):
        raise GraphError(f"(#100) Param batch[{position}][{name}] must be a string", 100)
    # JSON can spell half a surrogate pair, which no request on the wire can hold.
    return value.encode("utf-8", "replace").decode()


def _headers(item: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return an item's own header fields, which are lines such as ``Name: value``."""
    lines = item.get("headers")
    if not isinstance(lines, list):
        return []
    split = (line.partition(":") for line in cast("list[object]", lines) if isinstance(line, str))
    return [(name.strip(), value.strip()) for name, _, value in split]


def _with_token_of(outer: Request, call: Request) -> Request:
    """Return a call that carries the batch's token, and the proof of it unless the item has one.

    It replaces an ``Authorization`` of the item: the guide names the parameter as an item's way to a
    token of its own, and no other.
    """
    sent = outer.param("access_token")
    authorization = f"Bearer {sent}" if sent else outer.headers["authorization"]
    proof: dict[str, str] = {}
    if call.param("appsecret_proof") is None:
        pairs = {name: outer.param(name) for name in ("appsecret_proof", "appsecret_time")}
        proof = {name: value for name, value in pairs.items() if value is not None}
    return replace(
        call, query={**call.query, **proof}, headers={**call.headers, "authorization": authorization}
    )


def _answer(reply: Reply, item: Mapping[str, object], told: bool) -> dict[str, object] | None:
    if reply.status == _OK and item.get("omit_response_on_success") is True:
        return None
    answer: dict[str, object] = {"code": reply.status}
    if told:
        answer["headers"] = [{"name": name, "value": value} for name, value in reply.headers]
    answer["body"] = reply.body.decode()
    return answer
