"""Bodies and addresses of requests, from templates (protocol page, "List-based", "Property-based").

A template is JSON with `$name` variables in its strings and keys; a path is text with them. They are
substituted once, in the parsed JSON, so that a cohort called `"}, $user_id` stays a name. `$$` is a
dollar. The string "$value" alone becomes true or false, and "$items" alone the encoded batch.
"""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from destinations.endpoint import Endpoint, Kind

COHORT = frozenset({"cohort_name", "cohort_id"})
NAMES = COHORT | {"source_label", "integration_name", "integration_version"}
COMMON = NAMES | {"external_name"}
# What each field may use.
KNOWN: Mapping[str, frozenset[str]] = {
    "name_template": NAMES,
    "create_path": COMMON,
    "create_template": COMMON,
    "add_path": COMMON | {"list_id"},
    "add_template": COMMON | {"list_id", "items"},
    "remove_path": COMMON | {"list_id"},
    "remove_template": COMMON | {"list_id", "items"},
    "identify_path": COMMON,
    "batch_path": COMMON,
    "item_template": COMMON | {"user_id", "value"},
    "batch_template": COMMON | {"items", "value"},
}
HEADERS = {
    "Accept-Encoding": "identity",  # replies are short: a compressed one costs more than it saves
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "Cohort-Sync",
}
VARIABLE = re.compile(r"\$(\$|[A-Za-z_][A-Za-z0-9_]*)?")
SLUG_LENGTH = 100
LIST_ID_LENGTH = 1024
MAX_ESCAPE = 6  # bytes that one character may take in JSON: \u0001


class TemplateError(ValueError):
    """A template that cannot be used; the message says what is wrong and what would be right."""


class Operation(StrEnum):
    CREATE = "create"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without the credential. `users` counts those it is about; `user_ids` are they."""

    operation: Operation
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    users: int
    user_ids: Sequence[str] = field(default=(), repr=False)


def slug(name: str) -> str:
    """Return the name in `[A-Za-z0-9_-]`, at most 100 characters (protocol page, "What a sender does")."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", unicodedata.normalize("NFKD", name))[:SLUG_LENGTH]


def external_name(endpoint: Endpoint, cohort_name: str, cohort_key: str) -> str:
    """Return what the cohort is called at the partner. A sync freezes it at its first run."""
    return substitute(endpoint.name_template, _names(endpoint, cohort_name, cohort_key), "name_template")


def check_list_id(list_id: str) -> str:
    """Return the list id, or raise ValueError: it becomes a segment of a path, and a column."""
    if not list_id.strip() or list_id in (".", ".."):
        raise ValueError("the list id is blank or a dot")
    if len(list_id) > LIST_ID_LENGTH:
        raise ValueError(f"the list id is longer than {LIST_ID_LENGTH:,} characters")
    if not list_id.isprintable():  # control characters, lone surrogates
        raise ValueError("the list id contains unprintable characters")
    return list_id


def variables(text: str) -> Iterator[str]:
    """Yield the names that a text uses; TemplateError on a dollar that begins none."""
    for match in VARIABLE.finditer(text):
        if match[1] is None:
            raise TemplateError(f"A lone dollar in {text[:80]!r}: write $$ for a dollar.")
        if match[1] != "$":
            yield match[1]


def strings(value: Any) -> Iterator[str]:
    """Yield every string and key within parsed JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def keys(value: Any) -> Iterator[str]:
    """Yield every key within parsed JSON."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from keys(item)


def check_known(texts: Iterator[str], place: str) -> set[str]:
    """Return the variables used in the texts of the field `place`, or raise TemplateError."""
    used = {name for text in texts for name in variables(text)}
    known = KNOWN[place]
    if unknown := sorted(used - known):
        listed = ", ".join(f"${name}" for name in sorted(known))
        raise TemplateError(f"Unknown variable ${unknown[0]}. Known here: {listed}.")
    return used


def parse_template(text: str, place: str) -> Any:
    """Return the parsed JSON of a template whose variables are known, or raise TemplateError."""
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
        orjson.dumps(parsed)
        every = list(strings(parsed))
    except json.JSONDecodeError as error:
        raise TemplateError(f"Not JSON: {error}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise TemplateError(f"JSON that cannot be sent: {error}.") from None
    if not isinstance(parsed, dict):
        raise TemplateError("Must be a JSON object: {…}.")
    check_known(iter(every), place)
    holders = [text for text in every if "items" in variables(text)]
    if holders and holders != ["$items"] or "$items" in keys(parsed):
        raise TemplateError('"$items" must stand once, alone, as a whole value.')
    return parsed


def substitute(text: str, values: Mapping[str, str], place: str) -> str:
    """Return the text with its variables replaced, once."""
    check_known(iter((text,)), place)
    return VARIABLE.sub(lambda match: "$" if match[1] == "$" else values[match[1]], text)


def fill(value: Any, values: Mapping[str, str], alone: Mapping[str, object]) -> Any:
    """Return parsed JSON with its variables replaced, once, in strings and keys."""
    if isinstance(value, str):
        return alone[value] if value in alone else _fill_text(value, values)
    if isinstance(value, dict):
        return {_fill_text(key, values): fill(item, values, alone) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, values, alone) for item in value]
    return value


class Encoder:
    """Makes the requests of one sync: templates are compiled once, users are joined in as bytes.

    list_id: the partner's list, once it is known (a list destination's add and remove need it).
    run_id: what `Idempotency-Key` and `messageId` are derived from, beside user and value.
    Raises TemplateError for a template that cannot be used. User ids must be valid ones.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cohort_name: str,
        cohort_key: str,
        external_name: str,
        list_id: str | None = None,
        run_id: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.run_id = run_id or "test"
        self._values = _names(endpoint, cohort_name, cohort_key) | {"external_name": external_name}
        if list_id is not None:
            self._values["list_id"] = check_list_id(list_id)
        self._headers = _merge_headers(
            HEADERS,
            endpoint.extra_headers,
        )
        self._batches: dict[Operation, _Batch] = {}
        self._urls: dict[str, str] = {}

    def create(self) -> Request:
        """Return the request that creates the list."""
        body = fill(parse_template(self.endpoint.create_template, "create_template"), self._values, {})
        return self._request(Operation.CREATE, "create_path", orjson.dumps(body), ())

    def batch(self, operation: Operation, user_ids: Sequence[str]) -> Request:
        """Return the request that adds or removes these users, or sets their property to true or false."""
        place = "batch_path" if self.endpoint.kind == Kind.PROPERTY else f"{operation}_path"
        return self._request(operation, place, self._compiled(operation).encode(user_ids), user_ids)

    def single(self, operation: Operation, user_id: str) -> Request:
        """Return the request that sets one user's property."""
        item = self._compiled(operation).item(user_id)
        return self._request(operation, "identify_path", item, (user_id,))

    def fits(self, operation: Operation, user_ids: Sequence[str]) -> int:
        """Return how many of the users, from the start, one body of `max_bytes` holds: at least 1."""
        return self._compiled(operation).fits(user_ids, self.endpoint.max_bytes)

    def _compiled(self, operation: Operation) -> "_Batch":
        if operation not in self._batches:
            self._batches[operation] = _Batch(self.endpoint, operation, self._values, self.run_id)
        return self._batches[operation]

    def _request(self, operation: Operation, place: str, body: bytes, user_ids: Sequence[str]) -> Request:
        if place not in self._urls:
            self._urls[place] = self.endpoint.base_url.rstrip("/") + self._path(place)
        url = self._urls[place]
        headers = self._headers
        if self.endpoint.idempotency_key:
            key = _digest(self.run_id, operation, url, body)
            headers = _merge_headers(headers, {"Idempotency-Key": key})
        return Request(operation, "POST", url, headers, body, len(user_ids), user_ids)

    def _path(self, place: str) -> str:
        template = getattr(self.endpoint, place)
        _require_list_id(iter((template,)), self._values)
        quoted = {name: quote(value, safe="") for name, value in self._values.items()}
        path = substitute(template, quoted, place)
        if {".", ".."} & set(path.partition("?")[0].split("/")):
            raise TemplateError(f"The path {path} has a segment that is a dot.")
        return path


class _Batch:
    """The compiled templates of one operation: constant bytes, and the gaps where users go."""

    def __init__(
        self, endpoint: Endpoint, operation: Operation, values: Mapping[str, str], run_id: str
    ) -> None:
        self.adds = operation == Operation.ADD
        self.run_id = run_id
        # Random, so that no cohort's name can contain it.
        user, message, items = (secrets.token_hex(16) for _ in range(3))
        values = {**values, "user_id": user, "value": "true" if self.adds else "false"}
        alone: dict[str, object] = {"$value": self.adds, "$items": items}
        if endpoint.kind == Kind.PROPERTY:
            item = parse_template(endpoint.item_template, "item_template")
            outer, place = endpoint.batch_template, "batch_template"
            if endpoint.message_ids:
                item = {**item, "messageId": "$message_id"}
        else:
            item = "$user_id"
            place = f"{operation}_template"
            outer = getattr(endpoint, place)
        filled = orjson.dumps(fill(item, {**values, "message_id": message}, alone))
        self.message_parts = [part.split(user.encode()) for part in filled.split(message.encode())]
        frame = parse_template(outer, place)
        _require_list_id(strings(frame), values)
        body = orjson.dumps(fill(frame, values, alone))
        self.body_parts = body.split(b'"' + items.encode() + b'"')

    def encode(self, user_ids: Sequence[str]) -> bytes:
        """Return the whole body."""
        return self._items(user_ids).join(self.body_parts)

    def _items(self, user_ids: Sequence[str]) -> bytes:
        if self.message_parts == [[b'"', b'"']]:
            return orjson.dumps(list(user_ids))
        if len(self.message_parts) > 1:
            return b"[" + b",".join(map(self.item, user_ids)) + b"]"
        # Written out, for speed: no call of ours for each user.
        parts, dumps = self.message_parts[0], orjson.dumps
        return b"[" + b",".join([dumps(user_id)[1:-1].join(parts) for user_id in user_ids]) + b"]"

    def item(self, user_id: str) -> bytes:
        """Return one user's JSON."""
        quoted = orjson.dumps(user_id)[1:-1]
        if len(self.message_parts) == 1:
            return quoted.join(self.message_parts[0])
        message_id = _digest(self.run_id, user_id, str(self.adds)).encode()
        return message_id.join([quoted.join(parts) for parts in self.message_parts])

    def fits(self, user_ids: Sequence[str], max_bytes: int) -> int:
        """Return how many users, from the start, a body of max_bytes holds: at least 1."""
        frame = sum(map(len, self.body_parts)) + len("[]") - 1  # one comma less than users
        fixed = len(self.item("")) + 1
        gaps = sum(len(parts) - 1 for parts in self.message_parts)
        # Encoding is spared when even the longest escapes would fit.
        longest = frame + len(user_ids) * fixed + sum(map(len, user_ids)) * gaps * MAX_ESCAPE
        if longest <= max_bytes:
            return len(user_ids)
        size = frame
        for count, user_id in enumerate(user_ids):
            size += len(self.item(user_id)) + 1
            if size > max_bytes:
                return max(count, 1)
        return len(user_ids)


def _names(endpoint: Endpoint, cohort_name: str, cohort_key: str) -> dict[str, str]:
    return {
        "cohort_name": slug(cohort_name) if endpoint.slug_names else cohort_name,
        "cohort_id": cohort_key,
        "source_label": endpoint.source_label,
        "integration_name": endpoint.integration_name,
        "integration_version": endpoint.integration_version,
    }


def _fill_text(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: "$" if match[1] == "$" else values[match[1]], text)


def _require_list_id(texts: Iterator[str], values: Mapping[str, str]) -> None:
    if "list_id" not in values and any("list_id" in variables(text) for text in texts):
        raise TemplateError("The partner's list id is not known yet: create the list first.")


def _merge_headers(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return both, the later ones winning whatever their capitals."""
    names = {name.lower() for name in more}
    return {name: value for name, value in headers.items() if name.lower() not in names} | dict(more)


def _digest(*parts: str | bytes) -> str:
    """Return 32 hex digits that differ when any of the parts differs."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
