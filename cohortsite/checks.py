"""Mistakes in the settings of the project, told at start."""

from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

BROKERS = ("redis", "rediss", "valkey", "valkeys", "amqp", "amqps", "memory")
INSTALL = "Install the libraries of requirements-machines.txt."


@register("settings")
def check_broker(app_configs: Any, **options: Any) -> list[CheckMessage]:
    url = settings.CELERY_BROKER_URL
    if not url:
        return []
    if urlsplit(url).scheme not in BROKERS:
        hint = "redis://:PASSWORD@HOST:6379/0 or amqp://USER:PASSWORD@HOST/VHOST; empty: sync_worker or cron."
        return [Error("CELERY_BROKER_URL names no broker that is known.", hint=hint, id="cohortsite.E001")]
    if find_spec("celery") is None:
        return [Error("CELERY_BROKER_URL needs Celery.", hint=INSTALL, id="cohortsite.E002")]
    return []


@register("settings")
def check_files(app_configs: Any, **options: Any) -> list[CheckMessage]:
    if settings.FILES_URL and find_spec("storages") is None:
        return [Error("FILES_URL needs django-storages.", hint=INSTALL, id="cohortsite.E004")]
    return []


@register("settings")
def check_traces(app_configs: Any, **options: Any) -> list[CheckMessage]:
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT and find_spec("opentelemetry") is None:
        what = "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry's libraries."
        return [Error(what, hint=INSTALL, id="cohortsite.E010")]
    return []


@register("settings")
def check_site_url(app_configs: Any, **options: Any) -> list[CheckMessage]:
    parts = urlsplit(settings.SITE_URL)
    if not settings.SITE_URL or (parts.scheme in ("http", "https") and parts.netloc):
        return []
    hint = "What people type to open this site, with https:// and without /admin/."
    return [Error("SITE_URL is no address.", hint=hint, id="cohortsite.E011")]


@register("settings")
def check_pruning(app_configs: Any, **options: Any) -> list[CheckMessage]:
    if settings.HISTORY_DAYS >= 0:
        return []
    hint = "Days that the history stays; 0: until prune_history deletes it."
    return [Error(f"HISTORY_DAYS is {settings.HISTORY_DAYS:g}.", hint=hint, id="cohortsite.E003")]
