"""fbguard in Django: a middleware for both kinds of server, ``settings.FBGUARD``, and ``guard()``.

::

    FBGUARD = {"app_id": "...", "app_secret": "...", "policy": "mysite.guarding.policy"}
    MIDDLEWARE = [..., "corsheaders.middleware.CorsMiddleware",
                  "fbguard.integrations.django.FBTokenMiddleware", ...]
    INSTALLED_APPS = [..., "fbguard.integrations.django.FBGuardConfig"]  # for the system checks
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeGuard, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import AppConfig
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from fbguard.claims import Claims, make_live_by_rule
from fbguard.context import TOKEN, inject
from fbguard.core.carrier import Carrier, entered, is_asgi
from fbguard.core.errors import Refused
from fbguard.core.requirement import PathParams
from fbguard.core.rule import is_plain
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.entrance import Approach, Way, approach, tell_of_unreached
from fbguard.guard import Guard
from fbguard.heads import UNDECODABLE, answered, head_of
from fbguard.integrations.django_checks import check_settings
from fbguard.integrations.django_settings import guard, policy
from fbguard.marks import MARKS, marks_of
from fbguard.reports import heed, refusal_of
from fbguard.streams import LiveBody, LiveStream, SeeingBody, seeing_body
from fbguard.surroundings import AnsweringSurroundings

__all__ = ["FBGuardConfig", "FBTokenMiddleware", "GuardedRequest", "check_settings", "guard", "policy"]

_ENCODED_AGAIN: Final = re.compile("%[89A-F][0-9A-F]")  # by Django's repercent_broken_unicode
_NOTHING: Final = Approach(Way.PLAIN)


class GuardedRequest(HttpRequest):
    """For annotations: a request behind the middleware or the decorator; ``fb_token`` are its facts."""

    fb_token: TokenInfo | None


GetResponse = Callable[[HttpRequest], HttpResponseBase]


class FBTokenMiddleware:
    """Guards what comes after it in ``MIDDLEWARE``, sync and async, without a hop between threads.

    The facts are in ``request.fb_token`` and :func:`fbguard.current_token`. Refusals raised in views,
    by the decorator or by hand, are answered too. Stands below the CORS middleware.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        guard()  # wrong settings stop the server, not its first request
        tell_of_unreached(policy())
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request."""
        if self._is_async:
            return self._serve_async(request)
        carrier, judge = carrier_of(request), guard()
        try:
            found = _approach(request, carrier, judge)
            verdict = found.verdict
            if isinstance(verdict, Secret):
                verdict = judge.settle(found.demands, verdict)
        except Refused as refused:
            return response_of(request, refused)
        _inject(request, carrier, judge, verdict, found)
        claims = make_live_by_rule(carrier, judge)
        with entered(carrier):
            response = self.get_response(request)
        return _finish(response, carrier, claims)

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        carrier, judge = carrier_of(request), guard()
        try:
            found = _approach(request, carrier, judge)
            verdict = found.verdict
            if isinstance(verdict, Secret):
                verdict = await judge.asettle(found.demands, verdict)
        except Refused as refused:
            return response_of(request, refused)
        _inject(request, carrier, judge, verdict, found)
        claims = make_live_by_rule(carrier, judge)
        with entered(carrier):
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return _finish(response, carrier, claims)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a refusal, and what Graph said of this request's token; leave all else to Django."""
        carrier = carrier_of(request)
        refused = refusal_of(carrier, exception)
        if refused is None:
            heed(carrier, exception)
            return None
        return response_of(request, refused)


def _approach(request: HttpRequest, carrier: Carrier, judge: Guard) -> Approach:
    _inject(request, carrier, judge, None)
    return approach(judge, policy(), _DjangoHead(request, carrier))


def _inject(
    request: HttpRequest, carrier: Carrier, judge: Guard, info: TokenInfo | None, found: Approach = _NOTHING
) -> None:
    inject(carrier, judge, info, found.demands, found.token)
    request.fb_token = info  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def _finish(response: HttpResponseBase, carrier: Carrier, claims: Claims | None) -> HttpResponseBase:
    if MARKS in carrier:  # also by a view's own guard, which may have raised something
        _mark(response, carrier)
    response = _let_stream_see(response, carrier)
    return response if claims is None else _let_stream_end(response, claims)


def _mark(response: HttpResponseBase, carrier: Carrier) -> None:
    for name, value in marks_of(carrier).on(list(response.items())):
        response.headers[name] = value


def carrier_of(request: HttpRequest) -> Carrier:
    """Return the scope or environ that the request was made of."""
    carrier: object = getattr(request, "scope", None) or getattr(request, "environ", None)
    if not isinstance(carrier, dict):
        raise TypeError("fbguard guards requests of Django's WSGI and ASGI handlers")
    return cast("Carrier", carrier)


class _DjangoHead:
    """What the rules read of a request; the path is the one that Django's URL resolver reads."""

    def __init__(self, request: HttpRequest, carrier: Carrier) -> None:
        self._request = request
        self._carrier = carrier
        self._head = head_of(carrier)

    @property
    def path(self) -> str:
        routed: str = self._request.path_info
        if is_asgi(self._carrier):
            return routed if is_plain(self._head.path) else self._head.path
        # WSGIRequest writes PATH_INFO anew, decoded: what is no UTF-8 it has percent-encoded again.
        return UNDECODABLE if _ENCODED_AGAIN.search(routed) else routed

    @property
    def method(self) -> str:
        return self._head.method

    @property
    def is_websocket(self) -> bool:
        return self._head.is_websocket

    @property
    def query(self) -> str:
        return self._head.query

    @property
    def client(self) -> str | None:
        return self._head.client

    @property
    def subprotocols(self) -> Sequence[str]:
        return self._head.subprotocols

    def header(self, name: str) -> Sequence[str]:
        return self._head.header(name)


def response_of(request: HttpRequest, refused: Refused) -> HttpResponse:
    """Return a refusal as Django's own response."""
    # Of WSGI's environ Django has decoded the path; what is no UTF-8 is percent-encoded again.
    path = UNDECODABLE if _ENCODED_AGAIN.search(request.path) else request.path
    answer = answered(refused, carrier_of(request), path=path)
    body = b"" if request.method == "HEAD" else answer.body  # not every server cuts it off
    response = HttpResponse(body, status=answer.status, headers=dict(answer.headers))
    # Django logs 4xx as WARNING and 5xx as ERROR; a refusal is neither, and the guard logs what matters.
    response._has_been_logged = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
    return response


def _let_stream_see(response: HttpResponseBase, carrier: Carrier) -> HttpResponseBase:
    """Let the code that makes a streamed body find its request, as the view did."""
    if _is_stream(response):
        content = response.streaming_content
        if isinstance(content, AsyncIterator):
            response.streaming_content = seeing_body(content, carrier)
        else:
            response.streaming_content = SeeingBody(content, carrier)  # Django itself closes the body below
    return response


def _let_stream_end(response: HttpResponseBase, claims: Claims) -> HttpResponseBase:
    """Let a streamed body end with its tokens; nobody around Django could answer for one that is refused."""
    if _is_stream(response):
        content = response.streaming_content
        response.streaming_content = (
            LiveStream(content, claims) if isinstance(content, AsyncIterator) else LiveBody(content, claims)
        )
    return response


def _is_stream(response: object) -> TypeGuard[StreamingHttpResponse]:
    # A file has no code to run, and servers may have a fast way for it, which must stay.
    return isinstance(response, StreamingHttpResponse) and not getattr(response, "file_to_stream", None)


def surroundings_of(arguments: list[object]) -> DjangoSurroundings | None:
    """Return the surroundings of a view that got a request of Django, itself or as an attribute."""
    for argument in arguments:
        for candidate in (argument, getattr(argument, "request", None)):
            # REST framework's Request has Django's inside.
            for request in (candidate, getattr(candidate, "_request", None)):
                if isinstance(request, HttpRequest):
                    return DjangoSurroundings(request)
    return None


def tell(info: TokenInfo, request: object) -> bool:
    """Put a request's facts where Django's views look for them; False for what is no request of Django."""
    if not isinstance(request, HttpRequest):
        return False  # REST framework's, which has Django's inside
    request.fb_token = info  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return True


class DjangoSurroundings(AnsweringSurroundings):
    """A view of Django."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(carrier_of(request))
        self._request = request
        request.fb_token = self.carrier.get(TOKEN)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

    def application_guard(self) -> Guard | None:
        return guard() if hasattr(settings, "FBGUARD") else None

    def path_params(self) -> PathParams:
        match = self._request.resolver_match
        return match.kwargs if match is not None else {}

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        super().inject(guard, info, token)
        self._request.fb_token = info  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

    def have_marked(self, guard: Guard) -> bool:
        del guard
        return False  # a cache may stand between the middleware and the view

    def marked(self, answer: object) -> object:
        if isinstance(answer, HttpResponseBase):
            _mark(answer, self.carrier)
        return answer

    def outgoing(self, answer: object) -> object:
        return _let_stream_see(answer, self.carrier) if isinstance(answer, HttpResponseBase) else answer

    def live(self, answer: object, claims: Claims) -> object:
        return _let_stream_end(answer, claims) if isinstance(answer, HttpResponseBase) else answer

    def report(self, error: Exception, refused: Refused) -> object:
        return response_of(self._request, refused)

    def say(self, refused: Refused) -> object:
        return response_of(self._request, refused)


class FBGuardConfig(AppConfig):
    """For ``INSTALLED_APPS``: so that ``manage.py check`` sees wrong settings."""

    name = "fbguard.integrations.django"
    label = "fbguard"
    verbose_name = "fbguard"
