"""Posting JSON to an address that somebody configured, within what this server may connect to.

A signed one has `X-Cohort-Sync-Signature`: `sha256=` and the hex HMAC-SHA256, under the shared secret, of the
timestamp in `X-Cohort-Sync-Timestamp` (Unix seconds), a dot and the body.
"""

import hashlib
import hmac
from collections.abc import Mapping

from django.conf import settings
from django.utils import timezone

from destinations.addresses import parse_networks
from destinations.endpoint import AuthMode, Endpoint
from destinations.errors import Misconfigured
from destinations.payloads import Operation, Request

JSON = {"Content-Type": "application/json"}


def post_signed(url: str, body: bytes, secret: str | None = None) -> None:
    """Post JSON, signed with `secret` or the one of the settings. Raises OSError, DeliveryError."""
    timestamp = str(int(timezone.now().timestamp()))
    signature = sign(settings.ALERT_WEBHOOK_SECRET if secret is None else secret, timestamp, body)
    post(url, body, {"X-Cohort-Sync-Timestamp": timestamp, "X-Cohort-Sync-Signature": signature})


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None, *, secret: str = "") -> None:
    """Post JSON. `secret`, or else the address's path, is masked in errors. Raises OSError, DeliveryError."""
    endpoint = Endpoint(
        name="alerts",
        base_url=url,
        auth_mode=AuthMode.NONE,
        # Sent nowhere, and masked in what an answer says: chat programs' secret is the path.
        credential=secret or url.partition("://")[2].partition("/")[2],
        allow_nets=parse_networks(settings.OUTBOUND_ALLOW_NETS),
    )
    from destinations.transport import Transport  # here: most rounds have nothing to send

    transport = Transport(endpoint)
    try:
        transport.send(Request(Operation.ADD, "POST", url, {**JSON, **(headers or {})}, body, 0))
    except Misconfigured as error:
        # Chat programs answer "ok" as a web page; for a partner, that would be its login page.
        if error.code != "html":
            raise
    finally:
        transport.close()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of X-Cohort-Sync-Signature: `sha256=` and 64 hex digits."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
