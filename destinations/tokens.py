"""OAuth 2: a token that is fetched with the credential, kept while it is good, and shared by all threads.

Grants: client credentials (the credential is the client's secret), refresh token (the credential is it; the
client's secret, if there is one, is the named secret `client_secret`), JWT bearer (RFC 7523: the credential
is the private key, PEM). Tokens are kept in memory only.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from destinations.endpoint import Endpoint
from destinations.errors import Misconfigured, Refused, Temporary
from destinations.payloads import HEADERS, Operation, Request
from destinations.reply_paths import parse_reply, texts

EARLY = 30.0  # seconds before its end at which a token is renewed
UNSAID = 300.0  # how long a token is kept whose end is not said
JWT_LIFE = 300
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"

# Sends a request with a token; returns response, body and seconds.
Send = Callable[[Request, str], tuple[Any, bytes, float]]


@dataclass
class _Kept:
    """The token of one account. Whoever fetches it holds the lock, so that it is fetched once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = ""
    until: float = 0.0


_kept: dict[str, _Kept] = {}
_kept_lock = threading.Lock()


class Tokens:
    """The tokens of one endpoint, shared with all endpoints of the same account in this process."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        account = json.dumps([dict(endpoint.oauth), endpoint.credential], sort_keys=True)
        with _kept_lock:
            self._kept = _kept.setdefault(hashlib.sha256(account.encode()).hexdigest(), _Kept())

    def get(self, send: Send) -> str:
        """Return a token that is good for a while; raise a DeliveryError if none can be had."""
        with self._kept.lock:
            if not self._kept.token or time.monotonic() >= self._kept.until:
                self._kept.token, life = self._fetch(send)
                # A short-lived one is used for half its life at least, or each request would fetch one.
                self._kept.until = time.monotonic() + max(life - EARLY, life / 2)
            return self._kept.token

    def forget(self, token: str) -> None:
        """Drop a token that was not accepted, unless another thread has fetched a new one meanwhile."""
        with self._kept.lock:
            if self._kept.token == token:
                self._kept.token = ""

    def _fetch(self, send: Send) -> tuple[str, float]:
        response, body, _ = send(self.request(), "")
        status, data = response.status_code, parse_reply(body)
        said = next(iter(texts(data, ("error_description", "error.message", "error", "message"))), "")
        words = f"{status}: {self.endpoint.redact(said)[:200]}" if said else f"{status}"
        if status == 429 or status >= 500:
            raise Temporary(f"The issuer of tokens answered {words}.", code="token")
        token = next(iter(texts(data, ("access_token",))), "")
        if not 200 <= status < 300 or not token or not token.isprintable():
            raise Refused(
                f"The issuer of tokens gives none for this credential. It answered {words}.", code="token"
            )
        life = next(iter(texts(data, ("expires_in",))), "")
        return token, float(life) if life[:9].isdecimal() and life.isascii() else UNSAID

    def request(self) -> Request:
        """Return the request that fetches a token."""
        oauth, endpoint = self.endpoint.oauth, self.endpoint
        form: dict[str, str] = {}
        secret = ""
        match oauth.get("grant"):
            case "client_credentials":
                form, secret = {"grant_type": "client_credentials"}, endpoint.credential
            case "refresh_token":
                form = {"grant_type": "refresh_token", "refresh_token": endpoint.credential}
                secret = endpoint.secrets.get("client_secret", "")
            case _:
                form = {
                    "grant_type": ASSERTION,
                    "assertion": assertion(oauth, endpoint.credential, time.time()),
                }
        form |= {
            name: oauth[name] for name in ("scope", "audience") if oauth.get(name) and "assertion" not in form
        }
        headers = HEADERS | {"Content-Type": "application/x-www-form-urlencoded"}
        client = oauth.get("client_id", "")
        if oauth.get("client_auth") == "basic":
            pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
            headers = headers | {"Authorization": f"Basic {pair}"}
        elif "assertion" not in form:
            form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        body = urlencode(form).encode()
        return Request(
            Operation.CREATE, "POST", oauth.get("token_url", ""), headers, body, 0, asks_token=True
        )


def assertion(oauth: Mapping[str, str], key: str, now: float) -> str:
    """Return the signed JWT of RFC 7523 for this private key (RSA or EC P-256, PEM)."""
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Misconfigured("The credential is no private key (PEM).", code="bad_key") from None
    issuer = oauth.get("issuer") or oauth.get("client_id", "")
    claims = {
        "iss": issuer,
        "sub": oauth.get("subject") or issuer,
        "aud": oauth.get("audience") or oauth.get("token_url", ""),
        "iat": int(now),
        "exp": int(now) + JWT_LIFE,
    }
    claims |= {"scope": oauth["scope"]} if oauth.get("scope") else {}
    algorithm = "RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256"
    text = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}"
    if isinstance(private, rsa.RSAPrivateKey):
        signed = private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signed = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        raise Misconfigured("The private key must be RSA or EC P-256.", code="bad_key")
    return f"{text}.{_base64url(signed)}"


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
