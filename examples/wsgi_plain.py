"""Any WSGI app behind Facebook access tokens, no framework: the door, and the facts in the environ.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    gunicorn examples.wsgi_plain:app

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fbguard import Guard, Policy, Rule, TokenInfo, current_token
from fbguard.wsgi import FBTokenMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

POLICY = Policy(
    Rule("/health", public=True),
    Rule("/pages/{page_id}/posts", scopes=["pages_manage_posts"], target="page_id"),
)  # what no rule names needs a valid user token of your app


def api(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    token: TokenInfo | None = environ["fbguard.token"]
    if token is None:
        yield b'{"ok": true}'
        return
    yield b'{"user": '
    # A body that is made bit by bit sees its own request's token, too.
    yield json.dumps(current_token(required=True).user_id).encode()
    yield b"}"


app = FBTokenMiddleware(api, Guard.from_env(), policy=POLICY)
