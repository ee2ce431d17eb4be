"""A plain WSGI app that looks tokens up by itself, on every kind of worker; it may do so before the fork."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from fbguard import Guard, Refused

guard = Guard.from_env()
if before_the_fork := os.environ.get("TESTS_TOKEN"):
    guard.check(before_the_fork)


def app(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> list[bytes]:
    body = json.dumps({**_verdict(environ), "pid": os.getpid(), "sees_a_loop": _sees_a_loop()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _verdict(environ: dict[str, Any]) -> dict[str, Any]:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    try:
        return {"user": guard.check(token).user_id} if scheme else {}
    except Refused as refused:
        return {"reason": refused.reason}


def _sees_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
