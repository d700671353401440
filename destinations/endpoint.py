"""A destination as a value: all that payloads and transport need, and no database.

`models.Destination.endpoint()` builds it; tests and benchmarks build it by hand.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from destinations.addresses import Network
from destinations.filters import FILTERS, OF_SECRETS

MASK = "•••"


# Users in one request, at most; but for a whole list that is one.
MOST_USERS = 10_000
# A whole list is made in memory: more users it may not have, in one request or in several.
LONGEST_LIST = 1_000_000


class Kind(StrEnum):
    LIST = "list"
    PROPERTY = "property"


class Delivery(StrEnum):
    """How a property update travels. Lists are always sent in batches."""

    BATCH = "batch"
    SINGLE = "single"


class AuthMode(StrEnum):
    NONE = "none"
    KEY = "key"  # Basic, the key as user name, an empty password: the protocol's own
    BASIC = "basic"  # user name and secret
    HEADER = "header"  # the secret in a header of any name
    BEARER = "bearer"
    OAUTH2 = "oauth2"  # a token that is fetched with the credential: see `oauth`


class ListIdFrom(StrEnum):
    """Where a list destination's list id comes from."""

    CREATED = "created"  # the reply to the create call
    FOUND = "found"  # a GET that looks for the external name, else the create call
    GIVEN = "given"  # written down for each cohort
    NAMED = "named"  # the external name is the id


class BodyFormat(StrEnum):
    JSON = "json"
    FORM = "form"
    NDJSON = "ndjson"
    CSV = "csv"


CONTEXT = {"integration": {"name": "$integration_name", "version": "$integration_version"}}
ITEM = {
    "type": "identify",
    "userId": "$user_id",
    "traits": {"$external_name": "$value"},
    "context": CONTEXT,
}


def to_json(value: object) -> str:
    """Return a template's text as people edit it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where data goes and how. The defaults are protocol.md's.

    Templates are JSON texts with `$variables` (see `payloads`). Sizes are in bytes, times in seconds.
    """

    name: str
    base_url: str
    kind: Kind = Kind.LIST
    delivery: Delivery = Delivery.BATCH
    auth_mode: AuthMode = AuthMode.KEY
    auth_username: str = ""
    auth_header: str = ""
    credential: str = field(default="", repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    oauth: Mapping[str, str] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    create_path: str = "/lists"
    create_template: str = to_json({"name": "$external_name", "context": CONTEXT})
    add_path: str = "/lists/$list_id/add"
    add_template: str = to_json({"userIds": "$items", "context": CONTEXT})
    remove_path: str = "/lists/$list_id/remove"
    remove_template: str = to_json({"userIds": "$items", "context": CONTEXT})
    identify_path: str = "/identify"
    batch_path: str = "/batch"
    item_template: str = to_json(ITEM)
    batch_template: str = to_json({"batch": "$items"})
    list_item_template: str = '"$user_id"'
    remove_item_template: str = ""
    change_template: str = ""
    methods: Mapping[str, str] = field(default_factory=dict)
    value_words: Mapping[str, Any] = field(default_factory=dict)
    body_format: BodyFormat = BodyFormat.JSON
    gzip: bool = False
    signature: Mapping[str, str] = field(default_factory=dict)
    list_id_from: ListIdFrom = ListIdFrom.CREATED
    given_lists: Mapping[str, str] = field(default_factory=dict)
    replaces_lists: bool = False
    find_path: str = ""
    find_places: Mapping[str, str] = field(default_factory=dict)
    test_path: str = ""
    test_proves: str = ""
    read_path: str = ""
    read_places: Mapping[str, Any] = field(default_factory=dict)
    poll_path: str = ""
    poll_fields: Mapping[str, Any] = field(default_factory=dict)
    list_id_place: str = "listId"
    name_template: str = "[$source_label] $cohort_name: $cohort_id"
    slug_names: bool = False
    source_label: str = "Amplitude"
    integration_name: str = "Amplitude Cohort Sync"
    integration_version: str = "1.0.0"
    batch_size: int = 1000
    threads: int = 4
    max_bytes: int = 5_000_000
    rate: float | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 20.0
    deadline: float = 30.0
    rules: Sequence[Mapping[str, Any]] = ()
    idempotency_key: bool = False
    message_ids: bool = False
    allow_nets: Sequence[Network] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc

    @property
    def fingerprint(self) -> str:
        """Return a digest of where the data goes.

        When it changes, what we believed this partner to hold is void. The secret is left out: a key is
        rotated without the account changing; the user name of mode BASIC names the account, and counts.
        """
        paths = (
            (self.create_path, self.add_path, self.remove_path)
            if self.kind == Kind.LIST
            else (self.identify_path, self.batch_path)
        )
        parts = [self.base_url.rstrip("/"), self.kind, *paths, self.auth_mode]
        if self.auth_mode == AuthMode.BASIC:
            parts.append(self.auth_username)
        if self.auth_mode == AuthMode.HEADER:
            parts.append(self.auth_header.lower())
        if self.auth_mode == AuthMode.OAUTH2:
            parts.append(self.oauth.get("client_id", ""))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def value_word(self, adds: bool) -> Any:
        """Return what "$value" becomes: true and false, unless the partner has other words."""
        return self.value_words.get("in", True) if adds else self.value_words.get("out", False)

    @property
    def needs_credential(self) -> bool:
        """Say whether requests make no sense without a credential (a Basic password may be empty)."""
        return self.auth_mode in (AuthMode.KEY, AuthMode.HEADER, AuthMode.BEARER, AuthMode.OAUTH2)

    def auth(self, token: str = MASK) -> tuple[str, str] | None:
        """Return the name and value of the header that carries the credential; of OAuth 2, this token.

        Basic is encoded as UTF-8 here: `requests` would encode it as latin-1.
        """
        match self.auth_mode:
            case AuthMode.NONE:
                return None
            case AuthMode.KEY:
                return "Authorization", "Basic " + _base64(f"{self.credential}:")
            case AuthMode.BASIC:
                return "Authorization", "Basic " + _base64(self._basic)
            case AuthMode.BEARER:
                return "Authorization", f"Bearer {self.credential}"
            case AuthMode.HEADER:
                return self.auth_header, self.credential
            case AuthMode.OAUTH2:
                return "Authorization", f"Bearer {token}"

    @property
    def _basic(self) -> str:
        """Return user name and password; without a user name, a credential `user:password` is both."""
        if not self.auth_username and ":" in self.credential:
            return self.credential
        return f"{self.auth_username}:{self.credential}"

    @property
    def all_secrets(self) -> tuple[tuple[str, str, AuthMode], ...]:
        """Return each secret with the user name and mode by which it may be encoded."""
        own = [(self.credential, self.auth_username, self.auth_mode)] if self.credential else []
        if self.auth_mode == AuthMode.BASIC and self._basic == self.credential:
            own.append((self.credential.partition(":")[2], "", AuthMode.NONE))
        return (*own, *((secret, "", AuthMode.NONE) for secret in self.secrets.values() if secret))

    def redact(self, text: str) -> str:
        """Return the text with each secret masked, in whatever form it stands there."""
        if not self.credential and not self.secrets:
            return text
        forms, pattern = _masks(self.all_secrets)
        if text.isascii():
            # Nearly every text holds no form, and finding that out is ten times cheaper this way.
            lowered = text.lower()
            if not any(form in lowered for form in forms):
                return text
        return pattern.sub(MASK, text) if forms else text

    @property
    def longest_form(self) -> int:
        """Return the length of the longest text that `redact` masks, in characters; 0 without secrets."""
        return max(map(len, _masks(self.all_secrets)[0]), default=0)


@lru_cache(maxsize=64)
def _masks(all_secrets: tuple[tuple[str, str, AuthMode], ...]) -> tuple[list[str], re.Pattern[str]]:
    """Return the secrets' forms in small letters, the longest first, and the pattern that finds any."""
    # The longest first, or a form within another leaves its ends standing.
    forms = sorted({form for secret in all_secrets for form in _forms(*secret)}, key=len, reverse=True)
    return [form.lower() for form in forms], re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)


def _forms(credential: str, username: str, mode: AuthMode) -> Iterator[str]:
    whole = [credential, *(FILTERS[name](credential) for name in OF_SECRETS)]
    if mode in (AuthMode.KEY, AuthMode.BASIC):
        whole += [_base64(f"{username}:{credential}"), _base64(f"{credential}:")]
    for form in whole:
        yield form
        yield from (quote(form, safe=""), quote_plus(form), html.escape(form))
        yield from (json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1], repr(form)[1:-1])
    yield from _within_base64(credential)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _within_base64(secret: str) -> Iterator[str]:
    """Yield what a secret looks like inside a longer base64 text, at each of its three alignments."""
    data = secret.encode()
    if len(data) < 8:
        return
    for offset in range(3):
        # Characters that mix bits of the secret with a neighbour's are left off both ends.
        start = (0, 2, 3)[offset]
        end = (offset + len(data)) * 8 // 6
        text = base64.b64encode(b"\0" * offset + data).decode()[start:end]
        yield text
        yield text.replace("+", "-").replace("/", "_")
