"""An ASGI app without any framework behind Facebook access tokens.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.asgi_plain:app

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
"""

import json

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware, Receive, Scope, Send

POLICY = Policy(
    Rule("/health", public=True),
    Rule("/newsletter", scopes=["email"]),
)  # what no rule names needs a valid user token of your app


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell who asks: the facts are in current_token(), anywhere below the door."""
    if scope["type"] != "http":
        return  # no start-up work, no WebSockets
    token = current_token()  # what scope["fbguard.token"] is
    body = json.dumps({"path": scope["path"], "user": token and token.user_id}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = FBTokenMiddleware(hello, Guard.from_env(), policy=POLICY)
