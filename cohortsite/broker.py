"""Whether the broker of Celery answers: asked by pages and probes only when workers give no sign of life."""

from django.conf import settings
from django.core.cache import cache

# Seconds that a page waits for a broker at most, and for which it believes the answer.
PATIENCE, BELIEVED = 1.0, 10.0


def why_away() -> str:
    """Return why the broker of CELERY_BROKER_URL cannot be used, or '' if it answers."""
    said: str | None = cache.get("broker")
    if said is None:
        said = _ask(settings.CELERY_BROKER_URL)
        cache.set("broker", said, timeout=BELIEVED)
    return said


def _ask(url: str) -> str:
    # Here and not above: most sites have no broker, and most of their processes do not ask.
    from kombu import Connection
    from kombu.exceptions import KombuError

    options = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
    connection = Connection(
        url,
        connect_timeout=PATIENCE,
        transport_options=options if url.startswith(("redis", "valkey")) else {},
    )
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PATIENCE)
    except (KombuError, OSError, LookupError, ImportError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    finally:
        connection.release()
    return ""
