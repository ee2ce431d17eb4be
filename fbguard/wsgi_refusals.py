"""Refusals in WSGI: as a response, as the answer to an exception of the app, and as Flask learns them."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module
from itertools import chain
from sys import modules
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from fbguard.core.carrier import Carrier, carrier_of_request
from fbguard.core.errors import OAuthException, Refused
from fbguard.entrance import behind, mounted, teach_known
from fbguard.heads import answered
from fbguard.reports import heed, refusal_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_FLASK: Final = "fbguard.integrations.flask_views"  # by name: doors stand below the integrations
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class RefusalResponse:
    """A refusal as a WSGI app, which WSGI frameworks take for a response."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse, exc_info: ExcInfo | None = None
    ) -> list[bytes]:
        """Start the response; return its body, none for HEAD."""
        answer = answered(self._refused, environ)
        status = status_line(answer.status)
        if exc_info is None:
            start_response(status, answer.headers)
        else:
            start_response(status, answer.headers, exc_info)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def answer_to(environ: Carrier, error: Exception) -> RefusalResponse | None:
    """Return what answers an exception of the app; None: it goes on to the server."""
    refused = refusal_of(environ, error)
    if refused is None:
        heed(environ, error)
        return None
    return RefusalResponse(refused)


class GraphErrorHandler:
    """Flask's error handler for what Graph said; what is the application's own goes to its handlers."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, error: Exception) -> object:
        """Return the answer; raise what has none."""
        answer = answer_to(carrier_of_request.get() or {}, error)
        if answer is not None:
            return answer
        theirs: dict[type, Any] = self._app.error_handler_spec.get(None, {}).get(None, {})
        for kind in type(error).__mro__[1:]:
            if kind in theirs and not isinstance(theirs[kind], GraphErrorHandler):
                return self._app.ensure_sync(theirs[kind])(error)
        raise error


def teach(app: object) -> None:
    """Tell apps of frameworks what our exceptions are; those of Flask to show the facts in ``g``, too.

    Flask calls the handler of an exception and serves what that returns.
    """
    for owner in chain(behind(app), mounted(app)):
        if teach_known(owner):
            continue
        register = getattr(owner, "register_error_handler", None)
        if register is None or getattr(owner, "_got_first_request", False):
            continue
        flask = modules.get("flask")
        if flask is not None and isinstance(owner, flask.Flask):
            import_module(_FLASK).attach(owner)
        known = getattr(owner, "error_handler_spec", {}).get(None, {}).get(None, {})
        graph_error = GraphErrorHandler(owner)
        ours = ((Refused, RefusalResponse), (OAuthException, graph_error), (ExceptionGroup, graph_error))
        for kind, handler in ours:
            if kind not in known:
                register(kind, handler)


def status_line(status: int) -> str:
    """Return the status as WSGI wants it."""
    return f"{status} {HTTPStatus(status).phrase}"
