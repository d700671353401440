"""An HMAC signature of a body, in a header."""

import base64
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from destinations.endpoint import Endpoint


def signature(endpoint: "Endpoint", body: bytes) -> dict[str, str]:
    """Return the header that signs this body; none when the destination signs nothing."""
    rule = endpoint.signature
    if not rule:
        return {}
    secret = endpoint.secrets.get(rule["secret"], "")
    digest = hmac.new(secret.encode(), body, rule.get("algorithm", "sha256")).digest()
    text = base64.b64encode(digest).decode() if rule.get("encoding") == "base64" else digest.hex()
    return {rule["header"]: rule.get("prefix", "") + text}
