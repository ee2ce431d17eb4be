"""Settings of the Django site, from the environment."""

import os

from tests.frameworks.sites.hasty import HastyClock

ALLOWED_HOSTS = ["*"]
SECRET_KEY = "not one"
ROOT_URLCONF = "tests.frameworks.sites.django_urls"
MIDDLEWARE = ["fbguard.integrations.django.FBTokenMiddleware"]
INSTALLED_APPS = ["fbguard.integrations.django.FBGuardConfig"]
FBGUARD = {
    "app_id": os.environ["FBGUARD_APP_ID"],
    "app_secret": os.environ["FBGUARD_APP_SECRET"],
    "graph_url": os.environ["FBGUARD_GRAPH_URL"],
    "redirect_uri": os.environ["FBGUARD_REDIRECT_URI"],
    "deadline": float(os.environ["FBGUARD_DEADLINE"]),
    "clock": HastyClock(),
    "limited_login": True,
    "jwks_url": os.environ["FBGUARD_JWKS_URL"],
    "policy": "tests.frameworks.apps.VIEWS",
}
