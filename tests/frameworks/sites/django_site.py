"""Django under its two handlers, as a project's ``wsgi.py`` and ``asgi.py`` make them."""

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from tests.frameworks.sites import logs

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.frameworks.sites.django_settings"
asgi_app = get_asgi_application()
wsgi_app = get_wsgi_application()
logs.watch()  # Django has set its loggers up by now
