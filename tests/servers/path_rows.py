"""Rows H of the table: which rule a path and a verb stand under. No token, unless a row says so."""

from tests.servers.table import (
    BAD_REQUEST,
    BEARER,
    FORM,
    GRANIAN,
    H11,
    MALFORMED,
    MISSING,
    NO_SCOPE,
    TRUSTING,
    USER,
    Outcome,
    Row,
    at,
    or_server,
    path,
    public,
    row,
)

PREFLIGHT = "Origin: https://app.example", "Access-Control-Request-Method: POST"

DOTS = [
    "/health/../admin", "/health/..", "/health/./admin", "/health/.", "/./health", "/../health", "/..",
    "/%2e%2e/health", "/health/%2e%2e/admin", "/health/.%2E/admin", "/health/%2e/x", "/admin/..%2fhealth",
]  # fmt: skip
SLASHES = [
    "//admin", "///admin", "/admin//", "//health", "/health//", "/health//admin", "//api.example/health",
]  # fmt: skip
NOT_PLAIN = [
    "/%2fhealth", "/health%5c", "/health%5cadmin", "/health%5c..%5cadmin", "/health%00", "/health%00/admin",
    "/health%0a", "/health%0d%0a", "/%0ahealth", "/health%09", "/health%7f", "/health%c2%85",
    # U+FFFD, and what is not UTF-8: overlong, a lone byte, a surrogate, beyond Unicode
    "/health%EF%BF%BD", "/health%c0%afadmin", "/health%c0%ae", "/health%ff", "/health%85",
    "/health%ed%a0%80", "/health%f4%90%80%80",
]  # fmt: skip
JUST_ANOTHER_PATH = [
    "/health%", "/health%2", "/health%zz", "/%u0068ealth", "/health%3f", "/health%23", "/health%e2%80%8b",
]  # fmt: skip
SPELLINGS = [
    "/HEALTH", "/Health", "/%EF%BD%88ealth", "/health%20", "/%20health", "/health,x", "/health.json",
]  # fmt: skip
HINTS = [
    "X-Forwarded-Uri", "X-Original-URL", "X-Original-Uri", "X-Rewrite-URL", "X-Forwarded-Path",
    "X-Envoy-Original-Path", "X-Accel-Redirect", "Forwarded",
]  # fmt: skip
EXCUSES = [
    "User-Agent: kube-probe/1.29", "X-Health-Check: 1", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1",
    "X-Internal: true", "Referer: https://api.example/health",
]  # fmt: skip

PATHS = [
    row("H01-path-in-host", or_server(MISSING), "/admin", host="api.example/health?"),
    row("H01-fragment-in-host", or_server(MISSING), "/admin", host="api.example/health#"),
    row("H01-user-in-host", or_server(MISSING), "/admin", host="api.example@health"),
    row("H01-two-hosts", or_server(MISSING), "/admin", "Host: api.example/health"),
    row("H01-empty-host", or_server(MISSING), "/admin", host=""),
    Row("H01-no-host", or_server(MISSING), b"GET /admin HTTP/1.1\r\nConnection: close\r\n\r\n"),
    # Of an absolute target a server hands us the path, or all of it, which is no plain path.
    row("H01-absolute", MISSING, "http://api.example/admin", on=at(H11, BAD_REQUEST)),
    row("H01-absolute-other-host", MISSING, "http://health/admin", host="x/health", on=at(H11, BAD_REQUEST)),
    row("H01-absolute-public", public("/health"), "http://api.example/health", on=at(H11, BAD_REQUEST)),
    row("H01-absolute-dots", BAD_REQUEST, "http://api.example/health/../admin"),
    row("H01-asterisk", BAD_REQUEST, "*", method="OPTIONS"),
    row("H01-asterisk-get", or_server(BAD_REQUEST), "*"),
    # hyper takes a target without a slash for a host, whose path is the root's.
    row("H01-host-and-port", or_server(BAD_REQUEST), "api:443", method="CONNECT", on=at(GRANIAN, MISSING)),
    row("H01-no-slash", or_server(BAD_REQUEST), "admin", on=at(GRANIAN, MISSING)),
    row("H01-no-path", or_server(MISSING), "?/health"),
    row("H01-scheme-without-host", or_server(BAD_REQUEST), "http:/admin"),
    row("H01-path-in-query", MISSING, "/admin?/health"),
    # A fragment is dropped, or part of the path.
    row("H01-path-in-fragment", MISSING, "/admin#/health"),
    row("H01-fragment-behind-public", public("/health"), "/health#/admin", on=at(H11, MISSING)),
    *(path("H02-dot-segments", BAD_REQUEST, target) for target in DOTS),
    path("H02-encoded-twice", MISSING, "/health/%252e%252e/admin"),
    path("H02-three-dots", MISSING, "/health/.../admin"),
    row("H02-with-a-token", BAD_REQUEST, "/health/../admin", BEARER),
    *(path("H03-slashes", BAD_REQUEST, target) for target in SLASHES),
    row("H03-with-a-token", BAD_REQUEST, "//admin", BEARER),
    row("H03-trailing", MISSING, "/admin/"),
    row("H03-trailing-with-a-token", NO_SCOPE, "/admin/", BEARER),
    row("H03-trailing-public", public("/health/"), "/health/"),
    row("H04-encoded-slash", MISSING, "/health%2fadmin"),
    row("H04-encoded-slash-behind", public("/health/"), "/health%2f"),
    row("H04-encoded-slash-with-a-token", NO_SCOPE, "/admin%2fx", BEARER),
    row("H04-encoded-letter-with-a-token", NO_SCOPE, "/%61dmin", BEARER),
    row("H04-encoded-letter", public("/health"), "/%68ealth"),
    *(path("H04-not-plain", BAD_REQUEST, target) for target in NOT_PLAIN),
    *(path("H04-just-another-path", MISSING, target) for target in JUST_ANOTHER_PATH),
    row("H04-raw-backslash", or_server(BAD_REQUEST), "/health\\admin"),
    row("H04-raw-byte", or_server(BAD_REQUEST), "/health\xff"),
    row("H04-raw-utf8", or_server(MISSING), "/admin/\xc3\xa9"),
    row("H04-raw-nul", or_server(BAD_REQUEST), "/health\x00"),
    row("H04-raw-tab", or_server(BAD_REQUEST), "/health\tx"),
    row("H04-raw-space", or_server(BAD_REQUEST), "/health x"),
    *(
        path("H05-semicolon", BAD_REQUEST, target)
        for target in ("/health;v=1", "/admin;x", "/health;/admin", "/health%3bx")
    ),
    *(path("H05-spelling", MISSING, target) for target in SPELLINGS),
    # gunicorn takes SCRIPT_NAME from a proxy that it trusts, and cuts it off: the app is asked for the rest.
    row("H06-mount", MISSING, "/x/health", "SCRIPT_NAME: /x", on=at(TRUSTING, public("/health"))),
    row("H06-not-at-a-boundary", MISSING, "/apple", "SCRIPT_NAME: /app", on=at(TRUSTING, BAD_REQUEST)),
    row("H06-mount-is-the-path", MISSING, "/admin", "SCRIPT_NAME: /admin"),
    row("H06-dash", MISSING, "/x/health", "Script-Name: /x"),
    row("H06-forwarded-prefix", MISSING, "/x/health", "X-Forwarded-Prefix: /x", "X-Script-Name: /x"),
    row("H06-path-info", MISSING, "/admin", "PATH_INFO: /health", "Path-Info: /health"),
    *(row(f"H07-{name}", MISSING, "/admin", f"{name}: /health") for name in HINTS),
    *(row(f"H08-{line.partition(':')[0]}", MISSING, "/admin", line) for line in EXCUSES),
    *(
        path("H09-prefix", MISSING, target)
        for target in (
            "/healthz-admin",
            "/health-admin",
            "/healthadmin",
            "/health/admin",
            "/newsx",
            "/news/x",
        )
    ),
    path("H09-optional-prefix", MISSING, "/optional/x"),
    *(
        row(f"H10-{method}", MISSING, "/news", method=method)
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
    ),
    *(
        row(f"H10-{method}", or_server(MISSING), "/news", method=method)
        for method in ("FOO", "GETX", "PRI", "CONNECT", "G!T", "DEBUG")
    ),
    # hypercorn makes verbs upper-case before us: it is GET that was asked, for the app too.
    *(
        row(f"H10-{method}", or_server(MISSING), "/news", method=method, on={"hypercorn": public("/news")})
        for method in ("get", "Get")
    ),
    row("H10-FOO-with-a-token", or_server(Outcome(200, "/news", USER)), "/news", BEARER, method="FOO"),
    row("H10-FOO-without-the-scope", or_server(NO_SCOPE), "/admin", BEARER, method="FOO"),
    *(
        row(f"H11-{name}", MISSING, "/news", f"{name}: GET", method="POST")
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    ),
    row("H11-in-query", MISSING, "/news?_method=GET", method="POST"),
    row("H11-in-form", MISSING, "/news", FORM, method="POST", body="_method=GET"),
    row("H11-the-verb-that-runs", public("/news"), "/news", "X-HTTP-Method-Override: DELETE"),
    row("H12-plain-options", MISSING, "/me", method="OPTIONS"),
    row("H12-no-request-method", MISSING, "/me", PREFLIGHT[0], method="OPTIONS"),
    row("H12-no-origin", MISSING, "/me", PREFLIGHT[1], method="OPTIONS"),
    row("H12-get", MISSING, "/me", *PREFLIGHT),
    row("H12-post", MISSING, "/me", *PREFLIGHT, method="POST"),
    row("H12-override", MISSING, "/me", *PREFLIGHT, "X-HTTP-Method-Override: OPTIONS", method="POST"),
    row("H12-odd-path", BAD_REQUEST, "//me", *PREFLIGHT, method="OPTIONS"),
    row("H12-bad-token", MALFORMED, "/me", *PREFLIGHT, "Authorization: Bearer", method="OPTIONS"),
    row("H20-routes-nowhere", MISSING, "/admin/none"),
    row("H20-with-a-token", NO_SCOPE, "/admin/none", BEARER),
]
