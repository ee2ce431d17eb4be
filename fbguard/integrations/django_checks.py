"""Django's system checks of ``settings.FBGUARD`` and of the order of MIDDLEWARE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's word
from django.core.exceptions import ImproperlyConfigured

from fbguard.integrations.django_settings import configuration, guard, policy

_MIDDLEWARE: Final = "fbguard.integrations.django.FBTokenMiddleware"
_DOORS: Final = ("fbguard.asgi.FBTokenMiddleware", "fbguard.wsgi.FBTokenMiddleware")
_CORS: Final = "corsheaders.middleware.CorsMiddleware"
_CACHE: Final = "django.middleware.cache.UpdateCacheMiddleware"


@register(Tags.security)
def check_settings(**_: object) -> list[CheckMessage]:
    """Report what is wrong with ``settings.FBGUARD`` (fbguard.E001, E002) and with MIDDLEWARE."""
    # What else there is to say of the order holds for the one that was meant.
    order = [_MIDDLEWARE if one in _DOORS else one for one in settings.MIDDLEWARE]
    if not hasattr(settings, "FBGUARD") and _MIDDLEWARE not in order:
        return []
    found: list[CheckMessage] = []
    for number, make in enumerate((guard, policy), start=1):
        try:
            make()
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id=f"fbguard.E{number:03d}"))
    return [*_check_doors(settings.MIDDLEWARE), *(found or _check_middleware(order))]


def _check_doors(order: Iterable[str]) -> Iterator[CheckMessage]:
    for one in order:
        if one in _DOORS:
            yield Error(
                f"{one!r} goes around a whole app, not into MIDDLEWARE",
                hint=f"Name {_MIDDLEWARE!r} in its place.",
                id="fbguard.E005",
            )


def _check_middleware(order: list[str]) -> Iterator[CheckMessage]:
    if _MIDDLEWARE not in order:
        if configuration().get("policy") is not None:
            yield Error(
                "FBGUARD has a policy, but no middleware follows it",
                hint=f"Add {_MIDDLEWARE!r} to MIDDLEWARE, or leave the policy out.",
                id="fbguard.E003",
            )
        return
    if order.count(_MIDDLEWARE) > 1:
        yield Warning(
            "the guard stands in MIDDLEWARE more than once: each judges every request again",
            hint=f"Keep the first {_MIDDLEWARE!r} only.",
            id="fbguard.W002",
        )
    below = order[order.index(_MIDDLEWARE) + 1 :]
    if _CORS in below:
        yield Warning(
            "browsers cannot read refusals: the CORS middleware stands below the guard",
            hint=f"Put {_CORS!r} above {_MIDDLEWARE!r}.",
            id="fbguard.W001",
        )
    if guard().sources.need_marks and _CACHE in below:
        yield Error(
            "one user may be served another's answer: the cache stands below the guard and does not see that "
            "tokens come by cookie or query",
            hint=f"Put {_CACHE!r} above {_MIDDLEWARE!r}.",
            id="fbguard.E004",
        )
