"""fbguard in Django: a middleware for both kinds of server, ``settings.FBGUARD``, and ``guard()``.

::

    FBGUARD = {"app_id": "...", "app_secret": "...", "policy": "mysite.guarding.policy"}
    MIDDLEWARE = [..., "corsheaders.middleware.CorsMiddleware",
                  "fbguard.integrations.django.FBTokenMiddleware", ...]
    INSTALLED_APPS = [..., "fbguard.integrations.django.FBGuardConfig"]  # for the system checks
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction  # pyright: ignore[reportDeprecated] - as Django does
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from fbguard.context import inject
from fbguard.core.carrier import Carrier, entered
from fbguard.core.credentials import MISSING
from fbguard.core.errors import Refused
from fbguard.core.policy import Policy, is_plain
from fbguard.core.requirement import PathParams
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.entrance import Approach, Way, approach, is_private, mark
from fbguard.guard import Guard
from fbguard.surroundings import Surroundings, head_of

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_lock: Final = threading.Lock()
_guards: Final[list[Guard]] = []  # the one Guard of these settings, or none yet


def guard() -> Guard:
    """Return the one Guard that ``settings.FBGUARD`` describes.

    Raises ImproperlyConfigured naming the option when the settings are wrong.
    """
    with _lock:
        if not _guards:
            _guards.append(_make_guard())
        return _guards[0]


def policy() -> Policy | None:
    """Return the policy of ``settings.FBGUARD["policy"]``: a dotted path, a Policy, its mapping or None.

    Without the key everything is guarded. CORS preflights are always refused: the CORS package stands
    outside and answers them. Raises ImproperlyConfigured.
    """
    given = _configuration().get("policy", Policy())
    try:
        found = import_string(given) if isinstance(given, str) else given
        found = Policy.from_mapping(cast("Mapping[str, Any]", found)) if isinstance(found, Mapping) else found
    except (ImportError, TypeError, ValueError, RuntimeError) as error:
        raise ImproperlyConfigured(f"FBGUARD: policy: {error}") from None
    if found is None:
        return None
    if not isinstance(found, Policy):
        raise ImproperlyConfigured("FBGUARD: policy must be a Policy, its mapping, a dotted path or None")
    return Policy(*found.rules, default=found.default, preflight=False)


def _configuration() -> Mapping[str, Any]:
    found: object = getattr(settings, "FBGUARD", None)
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured("FBGUARD must be a mapping in the settings")
    return cast("Mapping[str, Any]", found)


def _make_guard() -> Guard:
    options = {key: value for key, value in _configuration().items() if key != "policy"}
    try:
        return Guard.from_mapping(options)
    except (TypeError, ValueError) as error:
        reason = str(error)
    # Outside the except block: the traceback of the other would come along, with the settings in it.
    raise ImproperlyConfigured(f"FBGUARD: {reason}")


def _forget_guard(*, setting: str, **_: object) -> None:
    if setting == "FBGUARD":
        with _lock:
            old = _guards[:]
            _guards.clear()
        for one in old:
            one.close()


setting_changed.connect(_forget_guard)


class FBTokenMiddleware:
    """Guards what comes after it in ``MIDDLEWARE``, sync and async, without a hop between threads.

    The facts are in ``request.fb_token`` and :func:`fbguard.current_token`. Refusals raised in views,
    by the decorator or by hand, are answered too. Stands below the CORS middleware.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.guard = guard()
        self.policy = policy()
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request."""
        if self._is_async:
            return self._serve_async(request)
        carrier = carrier_of(request)
        try:
            found = self._approach(request, carrier)
            verdict = found.verdict
            if isinstance(verdict, Secret):
                verdict = self.guard.settle(found.demands, verdict)
        except Refused as refused:
            return response_of(request, refused)
        self._inject(request, carrier, found, verdict)
        with entered(carrier):
            response = self.get_response(request)
        return self._finish(carrier, found.way, response)

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        carrier = carrier_of(request)
        try:
            found = self._approach(request, carrier)
            verdict = found.verdict
            if isinstance(verdict, Secret):
                verdict = await self.guard.asettle(found.demands, verdict)
        except Refused as refused:
            return response_of(request, refused)
        self._inject(request, carrier, found, verdict)
        with entered(carrier):
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return self._finish(carrier, found.way, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a refusal that a view raised; leave every other exception to Django."""
        return response_of(request, exception) if isinstance(exception, Refused) else None

    def _approach(self, request: HttpRequest, carrier: Carrier) -> Approach:
        inject(carrier, self.guard, None)
        request.fb_token = None  # type: ignore[attr-defined]
        found = approach(self.guard, self.policy, _DjangoHead(request, carrier))
        if found.way is Way.PREFLIGHT:  # a policy of the settings never lets one in; see policy()
            raise self.guard.refusal(MISSING)
        return found

    def _inject(
        self, request: HttpRequest, carrier: Carrier, found: Approach, info: TokenInfo | None
    ) -> None:
        inject(carrier, self.guard, info, found.demands)
        request.fb_token = info  # type: ignore[attr-defined]

    def _finish(self, carrier: Carrier, way: Way, response: HttpResponseBase) -> HttpResponseBase:
        if way is Way.MARKED:
            mark_response(response, carrier, self.guard)
        if isinstance(response, StreamingHttpResponse):
            _let_stream_see(response, carrier)
        return response


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
        self._head = head_of(carrier)

    @property
    def path(self) -> str:
        # Django percent-encodes bytes that are no UTF-8 again; the door's head has U+FFFD for them.
        routed: str = self._request.path_info
        return routed if is_plain(self._head.path) else self._head.path

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
    def subprotocols(self) -> Sequence[str]:
        return self._head.subprotocols

    def header(self, name: str) -> Sequence[str]:
        return self._head.header(name)


def response_of(request: HttpRequest, refused: Refused) -> HttpResponse:
    """Return a refusal as Django's own response."""
    answer = refused.answer(
        accept=request.headers.get("Accept"), language=request.headers.get("Accept-Language")
    )
    response = HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
    # Django logs 4xx as WARNING and 5xx as ERROR; a refusal is neither, and the guard logs what matters.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response


def mark_response(response: HttpResponseBase, carrier: Carrier, guard: Guard) -> None:
    """Tell shared caches what an answer depends on."""
    pairs = mark(list(response.items()), guard.sources, private=is_private(carrier, head_of(carrier)))
    for name, value in pairs:
        response.headers[name] = value


def _let_stream_see(response: StreamingHttpResponse, carrier: Carrier) -> None:
    """Let the code that makes a streamed body find its request, as the view did."""
    content = response.streaming_content
    if isinstance(content, AsyncIterator):
        response.streaming_content = _seeing_async(content, carrier)
    else:
        response.streaming_content = _seeing(content, carrier)


def _seeing(content: Iterator[bytes], carrier: Carrier) -> Iterator[bytes]:
    while True:
        with entered(carrier):
            try:
                chunk = next(content)
            except StopIteration:
                return
        yield chunk


async def _seeing_async(content: AsyncIterator[bytes], carrier: Carrier) -> AsyncIterator[bytes]:
    while True:
        with entered(carrier):
            try:
                chunk = await anext(content)
            except StopAsyncIteration:
                return
        yield chunk


def surroundings_of(arguments: list[object]) -> DjangoSurroundings | None:
    """Return the surroundings of a view that got a request of Django, itself or as an attribute."""
    for argument in arguments:
        for candidate in (argument, getattr(argument, "request", None)):
            if isinstance(candidate, HttpRequest):
                return DjangoSurroundings(candidate)
    return None


class DjangoSurroundings(Surroundings):
    """A view of Django."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(carrier_of(request))
        self._request = request

    def application_guard(self) -> Guard | None:
        return guard() if hasattr(settings, "FBGUARD") else None

    def path_params(self) -> PathParams:
        match = self._request.resolver_match
        return match.kwargs if match is not None else {}

    def inject(self, guard: Guard, info: TokenInfo | None) -> None:
        super().inject(guard, info)
        self._request.fb_token = info  # type: ignore[attr-defined]

    def say(self, refused: Refused) -> object:
        return response_of(self._request, refused)


class FBGuardConfig(AppConfig):
    """For ``INSTALLED_APPS``: so that ``manage.py check`` sees wrong settings."""

    name = "fbguard.integrations.django"
    label = "fbguard"
    verbose_name = "fbguard"


@register(Tags.security)
def check_settings(**_: object) -> list[CheckMessage]:
    """Report what is wrong with ``settings.FBGUARD`` (fbguard.E001, fbguard.E002)."""
    if not hasattr(settings, "FBGUARD"):
        return []
    found: list[CheckMessage] = []
    for number, make in enumerate((guard, policy), start=1):
        try:
            make()
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id=f"fbguard.E{number:03d}"))
    return found
