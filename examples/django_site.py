"""A Django API in one file, for both kinds of server: the middleware, settings, decorated views.

Needs ``pip install "fbguard[demo,django]" django-cors-headers``. Try it against a local Facebook. In one
terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints, one of::

    uvicorn --lifespan off examples.django_site:application
    gunicorn examples.django_site:wsgi_application

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from fbguard import Policy, Rule, current_token, require_fb_token

POLICY = Policy(Rule("/health", public=True), Rule("/static/{file:path}", public=True))
GUARDED = {"graph_url": os.environ.get("FBGUARD_GRAPH_URL", "https://graph.facebook.com"), "policy": POLICY}
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["corsheaders", "fbguard.integrations.django.FBGuardConfig"],
    MIDDLEWARE=["corsheaders.middleware.CorsMiddleware", "fbguard.integrations.django.FBTokenMiddleware"],
    CORS_ALLOWED_ORIGINS=["https://spa.example"],
    CORS_EXPOSE_HEADERS=["WWW-Authenticate", "Retry-After"],
    FBGUARD={
        "app_id": os.environ["FBGUARD_APP_ID"],
        "app_secret": os.environ["FBGUARD_APP_SECRET"],
        **GUARDED,
    },
)


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ok": True})


async def me(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": current_token(required=True).user_id})


@require_fb_token(scopes=["pages_manage_posts"], target="page")
class Posts(View):
    """Posts of a page, for those to whom Facebook gave that page."""

    def get(self, request: HttpRequest, page: int) -> JsonResponse:
        """List them."""
        return JsonResponse({"page": page, "posts": []})


@csrf_exempt  # right for a token that travels in a header, which no other site can make a browser send
@require_fb_token(scopes=["email"])
def newsletter(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"subscribed": current_token(required=True).user_id})


urlpatterns = [
    path("health", health),
    path("me", me),
    path("newsletter", newsletter),
    path("pages/<int:page>/posts", Posts.as_view()),
]
application = get_asgi_application()
wsgi_application = get_wsgi_application()
