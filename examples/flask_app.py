"""A Flask API behind Facebook access tokens.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    flask --app examples/flask_app run

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:5000/me -H "Authorization: Bearer $TOKEN"
"""

from flask import Flask

from fbguard import Guard, Policy, Rule, current_token, require_fb_token
from fbguard.wsgi import FBTokenMiddleware

POLICY = Policy(
    Rule("/health", public=True),
    Rule("/pages/{page_id}/posts", scopes=["pages_manage_posts"], target="page_id"),
)  # what no rule names needs a valid user token of your app

app = Flask(__name__)
# On wsgi_app, not around app: so `flask run` and every server find a Flask app, and it is guarded.
# mypy knows wsgi_app as a method and wants to be told that it is replaced on purpose.
app.wsgi_app = FBTokenMiddleware(app.wsgi_app, Guard.from_env(), policy=POLICY)  # type: ignore[method-assign]


@app.get("/health")
def health() -> dict[str, object]:
    return {"ok": True}


@app.get("/me")
def me() -> dict[str, object]:
    token = current_token(required=True)
    return {"user": token.user_id, "scopes": sorted(token.scopes)}


@app.post("/newsletter")
@require_fb_token(scopes=["email"])
def newsletter() -> dict[str, object]:
    return {"subscribed": current_token(required=True).user_id}


@app.get("/pages/<page_id>/posts")
def posts(page_id: str) -> dict[str, object]:
    return {"page": page_id, "posts": []}
