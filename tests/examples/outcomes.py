"""What both examples answer: the same routes, the same outcomes."""

SCOPE = "pages_manage_posts"
OUR_PAGE = {"scopes": [SCOPE], "granular_scopes": {SCOPE: ["501"]}}

# (method, path, keywords of ask, status, members of the body)
OUTCOMES = [
    ("GET", "/health", {"token": False}, 200, {"ok": True}),
    ("GET", "/me", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/nowhere", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/me", {"scopes": ["email"]}, 200, {"user": "42", "scopes": ["email"]}),
    ("GET", "/me", {"expires_in": -1}, 401, {"reason": "expired", "subcode": 463}),
    ("POST", "/newsletter", {}, 403, {"reason": "insufficient_scope"}),
    ("POST", "/newsletter", {"scopes": ["email"]}, 200, {"subscribed": "42"}),
    ("GET", "/pages/501/posts", {}, 403, {"reason": "insufficient_scope"}),
    ("GET", "/pages/501/posts", OUR_PAGE, 200, {"page": "501", "posts": []}),
    ("GET", "/pages/777/posts", OUR_PAGE, 403, {"reason": "insufficient_target"}),
]
