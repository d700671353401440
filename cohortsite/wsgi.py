"""What a WSGI server runs: `gunicorn cohortsite.wsgi`."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")

application = get_wsgi_application()
# All pages, now: not while the first caller waits.
import_module(settings.ROOT_URLCONF)
