"""A Flask API with the extension: an app factory, a blueprint, CORS, settings in ``app.config``.

Needs ``pip install "fbguard[demo]" flask-cors``. Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    flask --app examples/flask_extension run

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:5000/shop/orders -H "Authorization: Bearer $TOKEN"
"""

import os

from flask import Blueprint, Flask
from flask_cors import CORS

from fbguard import Policy, Rule, current_token, require_fb_token
from fbguard.integrations.flask import FBGuard

guarding = FBGuard(policy=Policy(Rule("/health", public=True), Rule("/static/{file:path}", public=True)))
shop = Blueprint("shop", __name__, url_prefix="/shop")


@shop.get("/orders")
def orders() -> dict[str, object]:
    return {"orders_of": current_token(required=True).user_id}


@shop.post("/newsletter")
@require_fb_token(scopes=["email"])  # below the route: Flask registers what stands under its own line
async def newsletter() -> dict[str, object]:
    return {"subscribed": current_token(required=True).user_id}


def health() -> dict[str, object]:
    return {"ok": True}


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping({key: text for key, text in os.environ.items() if key.startswith("FBGUARD_")})
    # So that a browser may read why it was refused, and when to come back.
    CORS(app, origins=["https://spa.example"], expose_headers=["WWW-Authenticate", "Retry-After"])
    guarding.init_app(app)
    app.register_blueprint(shop)
    app.add_url_rule("/health", view_func=health)
    return app
