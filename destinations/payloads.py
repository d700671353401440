"""Bodies and addresses of requests, from templates (`docs/protocol.md`, "List-based", "Property-based")."""

import csv
import gzip
import hashlib
import io
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from destinations import filters
from destinations.endpoint import BodyFormat, Endpoint, Kind, ListIdFrom
from destinations.known import traits_of, type_of
from destinations.sessions import WIDEST, Part, alone, has_parts
from destinations.templates import (
    HOLDERS,
    OF_USER,
    SECRET,
    TRAIT,
    Variable,
    as_number,
    check_known,
    fill,
    fill_text,
    parse_template,
    resolver,
    strings,
    substitute,
    variables,
)
from destinations.templates import TemplateError as TemplateError

HEADERS = {
    "Accept-Encoding": "identity",  # replies are short: a compressed one costs more than it saves
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "Cohort-Sync",
}
CONTENT_TYPES = {
    BodyFormat.FORM: "application/x-www-form-urlencoded",
    BodyFormat.NDJSON: "application/x-ndjson",
    BodyFormat.CSV: "text/csv; charset=utf-8",
}
# One user a line: of these a body is the batch alone, and a create's is JSON all the same.
LINES = frozenset({BodyFormat.NDJSON, BodyFormat.CSV})
SLUG_LENGTH = 100
LIST_ID_LENGTH = 1024
MAX_ESCAPE = 6  # bytes that one character may take in JSON: \u0001


class Operation(StrEnum):
    CREATE = "create"
    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    TEST = "test"
    READ = "read"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without the credential. `users` counts those it is about; `user_ids` are they.

    list_id: of a create that needs no request, the list's id. find: the request that looks for the list
    by its name first; `find_name` is that name. asks_token: fetches the token that others carry.
    job_id: of a POLL, what the partner calls the request that it asks about.
    """

    operation: Operation
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    users: int
    user_ids: Sequence[str] = field(default=(), repr=False)
    list_id: str | None = None
    find: "Request | None" = None
    find_name: str = ""
    asks_token: bool = False
    job_id: str = ""


def slug(name: str) -> str:
    """Return the name in `[A-Za-z0-9_-]`, at most 100 characters: see `docs/protocol.md`."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", unicodedata.normalize("NFKD", name))[:SLUG_LENGTH]


def external_name(endpoint: Endpoint, cohort_name: str, cohort_key: str) -> str:
    """Return what the cohort is called at the partner. A sync freezes it at its first run."""
    return substitute(endpoint.name_template, _names(endpoint, cohort_name, cohort_key), "name_template")


def says_more(endpoint: Endpoint) -> bool:
    """Say whether the items of this endpoint name what goes along with a user: see `known`."""
    items = (endpoint.item_template, endpoint.list_item_template, endpoint.remove_item_template)
    return any(
        name in OF_USER or name.startswith(TRAIT) for text in items for name in variables(json.dumps(text))
    )


def needs_first_user(endpoint: Endpoint) -> bool:
    """Say whether the partner makes no list without somebody on it: the call that creates it names one."""
    return "items" in variables(endpoint.create_template)


def check_list_id(list_id: str) -> str:
    """Return the list id, or raise ValueError: it becomes a segment of a path, and a column."""
    if not list_id.strip() or list_id in (".", ".."):
        raise ValueError("the list id is blank or a dot")
    if len(list_id) > LIST_ID_LENGTH:
        raise ValueError(f"the list id is longer than {LIST_ID_LENGTH:,} characters")
    if not list_id.isprintable():  # control characters, lone surrogates
        raise ValueError("the list id contains unprintable characters")
    return list_id


class Encoder:
    """Makes the requests of one sync: templates are compiled once, users are joined in as bytes.

    list_id: the partner's list, once it is known (a list destination's add and remove need it).
    run_id: what `Idempotency-Key` and `messageId` are derived from, beside user and value.
    now: what `$now` says, in Unix seconds: the same for all requests, so that a repeated one is the same.
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
        now: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.cohort_key = cohort_key
        self.run_id = run_id or "test"
        self._values = _names(endpoint, cohort_name, cohort_key) | {"external_name": external_name}
        self._values |= _moments(time.time() if now is None else now)
        self._values |= {SECRET + name: secret for name, secret in endpoint.secrets.items()}
        if list_id is not None:
            self._values["list_id"] = check_list_id(list_id)
        self._headers = self._make_headers()
        self._has_parts = has_parts(endpoint)
        self._batches: dict[Operation, _Batch] = {}
        self._change: _Change | None = None
        self._urls: dict[str, str] = {}

    @property
    def values(self) -> dict[str, str]:
        """Return what the variables are that are the same for every user."""
        return dict(self._values)

    def create(self, user_ids: Sequence[str] = ()) -> Request:
        """Return the request that creates the list, or finds it, or says its id without one.

        user_ids: who is on it at once, where the partner wants that (`needs_first_user`).
        """
        source = self.endpoint.list_id_from
        if source == ListIdFrom.NAMED:
            return self._known_list(self._values["external_name"])
        if source == ListIdFrom.GIVEN:
            given = self.endpoint.given_lists.get(self.cohort_key)
            if not given:
                raise TemplateError(
                    f"No list id is given for the cohort {self.cohort_key!r}: see its list ids."
                )
            return self._known_list(str(given))
        if needs_first_user(self.endpoint):
            body = self._compiled(Operation.CREATE).encode(user_ids)
        else:
            template = parse_template(self.endpoint.create_template, "create_template")
            body = _dump(fill(template, resolver(self._values), self._whole), self.endpoint)
            user_ids = ()
        made = self._request(Operation.CREATE, "create_path", body, user_ids)
        if source != ListIdFrom.FOUND:
            return made
        find = Request(Operation.CREATE, "GET", self._url("find_path"), self._bodiless(), b"", 0)
        return replace(made, find=find, find_name=self._values["external_name"])

    def look(self, operation: Operation) -> Request:
        """Return the request that asks who we are (TEST), or for the first page of the members (READ)."""
        method = str(self.endpoint.methods.get(operation.value, "GET"))
        return Request(operation, method, self._url(f"{operation}_path"), self._bodiless(), b"", 0)

    def poll(self, job_id: str, user_ids: Sequence[str]) -> Request:
        """Return the request that asks what became of an accepted one, which was about these users."""
        path = self._path("poll_path", self.endpoint.poll_path, self._values | {"job_id": job_id})
        return Request(
            Operation.POLL,
            str(self.endpoint.methods.get("poll", "GET")),
            self.endpoint.base_url.rstrip("/") + path,
            self._bodiless(),
            b"",
            len(user_ids),
            user_ids,
            job_id=job_id,
        )

    def digest(self) -> Request | None:
        """Return the request for a list's count and digest, where the partner has one."""
        template = self.endpoint.read_places.get("digest")
        if not template:
            return None
        url = self.endpoint.base_url.rstrip("/") + self._path("read_path", template, self._values)
        return Request(Operation.READ, "GET", url, self._bodiless(), b"", 0)

    def batch(self, operation: Operation, user_ids: Sequence[str], part: Part | None = None) -> Request:
        """Return the request that adds or removes these users, or sets their property to true or false.

        part: of a whole list that travels in several requests, which one this is; without, the only one.
        """
        if self._has_parts and operation == Operation.ADD:
            return self._part(user_ids, part or alone(len(user_ids)))
        field = "batch_path" if self.endpoint.kind == Kind.PROPERTY else f"{operation}_path"
        return self._request(operation, field, self._compiled(operation).encode(user_ids), user_ids)

    def change(self, added: Sequence[str], removed: Sequence[str]) -> Request:
        """Return the request that adds some users and removes others: it goes where adds go."""
        users = [*added, *removed]
        made = self._request(Operation.ADD, "add_path", self._both.encode(added, removed), users)
        return replace(made, operation=Operation.CHANGE)

    def _part(self, user_ids: Sequence[str], part: Part) -> Request:
        values = self._values | part.values
        body = _Batch(self.endpoint, Operation.ADD, values, self.run_id).encode(user_ids)
        url = self.endpoint.base_url.rstrip("/") + self._path("add_path", self.endpoint.add_path, values)
        return self._request(Operation.ADD, "add_path", body, user_ids, url=url)

    def single(self, operation: Operation, user_id: str) -> Request:
        """Return the request that sets one user's property."""
        compiled = self._compiled(operation)
        item = compiled.single(user_id)
        return self._request(operation, "identify_path", item, (user_id,))

    def fits(self, operation: Operation, user_ids: Sequence[str]) -> int:
        """Return how many of the users, from the start, one body of `max_bytes` holds: at least 1."""
        if operation == Operation.CHANGE:
            return self._both.fits(user_ids, self.endpoint.max_bytes)
        return self._compiled(operation).fits(user_ids, self.endpoint.max_bytes)

    @property
    def _both(self) -> "_Change":
        if self._change is None:
            items = [self._compiled(operation) for operation in (Operation.ADD, Operation.REMOVE)]
            self._change = _Change(self.endpoint, items[0], items[1], self._values)
        return self._change

    def _known_list(self, list_id: str) -> Request:
        url = self.endpoint.base_url
        return Request(Operation.CREATE, "NONE", url, {}, b"", 0, list_id=check_list_id(list_id))

    def _whole(self, variable: Variable) -> object:
        return _number_of(variable, self._values)

    def _compiled(self, operation: Operation) -> "_Batch":
        if operation not in self._batches:
            values = self._values | (WIDEST.values if self._has_parts else {})
            self._batches[operation] = _Batch(self.endpoint, operation, values, self.run_id)
        return self._batches[operation]

    def _make_headers(self) -> dict[str, str]:
        own = dict(HEADERS)
        if self.endpoint.body_format in CONTENT_TYPES:
            own["Content-Type"] = CONTENT_TYPES[self.endpoint.body_format]
        if self.endpoint.gzip:
            own["Content-Encoding"] = "gzip"
        extra = {name: self._with_secrets(text) for name, text in self.endpoint.extra_headers.items()}
        return _merge_headers(own, extra)

    def _with_secrets(self, text: str) -> str:
        """Fill named secrets in; any other dollar in a header is one."""
        for name in sorted(self.endpoint.secrets, key=len, reverse=True):
            text = text.replace(f"${SECRET}{name}", self.endpoint.secrets[name])
        return text

    def _bodiless(self) -> dict[str, str]:
        left_out = ("content-type", "content-encoding")
        return {name: value for name, value in self._headers.items() if name.lower() not in left_out}

    def _request(
        self, operation: Operation, field: str, body: bytes, user_ids: Sequence[str], *, url: str = ""
    ) -> Request:
        url = url or self._url(field, operation, user_ids)
        headers = self._headers
        if not body:
            headers = self._bodiless()
        elif operation == Operation.CREATE and self.endpoint.body_format in LINES:
            headers = _merge_headers(headers, {"Content-Type": HEADERS["Content-Type"]})
        if body and self.endpoint.gzip:
            body = gzip.compress(body, compresslevel=6, mtime=0)
        if self.endpoint.idempotency_key:
            key = _digest(self.run_id, operation, url, body)
            headers = _merge_headers(headers, {"Idempotency-Key": key})
        method = self._method(operation, field)
        return Request(operation, method, url, headers, body, len(user_ids), user_ids)

    def _method(self, operation: Operation, field: str) -> str:
        methods = self.endpoint.methods
        if field in ("identify_path", "batch_path"):
            other = methods.get(field.removesuffix("_path"), "POST")
            # A property may be taken away by another method than the one that sets it.
            return str(methods.get("remove", other) if operation == Operation.REMOVE else other)
        return str(methods.get(operation.value, "POST"))

    def _url(self, field: str, operation: Operation | None = None, user_ids: Sequence[str] = ()) -> str:
        if field in self._urls:
            return self._urls[field]
        template = getattr(self.endpoint, field)
        values = self._values
        of_user = {"user_id", "value"} & set(variables(template))
        if of_user:
            word = self.endpoint.value_word(operation == Operation.ADD)
            text = word if isinstance(word, str) else json.dumps(word)
            values = {**values, "user_id": user_ids[0] if user_ids else "", "value": text}
        url = self.endpoint.base_url.rstrip("/") + self._path(field, template, values)
        if not of_user:
            self._urls[field] = url
        return url

    def _path(self, field: str, template: str, values: Mapping[str, str]) -> str:
        _require_list_id(iter((template,)), values)
        check_known(iter((template,)), field)
        resolve = resolver(values)
        path = fill_text(template, lambda variable: quote(resolve(variable), safe=""))
        if {".", ".."} & set(path.partition("?")[0].split("/")):
            raise TemplateError(f"The path {path} has a segment that is a dot.")
        return path


@dataclass(slots=True)
class _Slots:
    """Gaps for what differs from user to user: a random token each, which no cohort's name can contain."""

    make: dict[str, Callable[[str], str]] = field(default_factory=dict)
    tokens: dict[Variable, str] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)

    def token(self, variable: Variable, make: Callable[[str], str], *, bare: bool = False) -> str:
        if variable not in self.tokens:
            token = self.tokens[variable] = secrets.token_hex(16)
            self.make[token] = make
            if bare:
                self.bare.add(token)
        return self.tokens[variable]

    def split(self, text: bytes) -> tuple[list[bytes], list[Callable[[str], str]]]:
        """Return the constant parts of a body, and what stands between each two of them."""
        if not self.make:
            return [text], []
        forms = [rf'"{token}"' if token in self.bare else token for token in self.make]
        found = re.split(b"(" + "|".join(forms).encode() + b")", text)
        makes = [self.make[token.decode().strip('"')] for token in found[1::2]]
        return found[::2], makes


class _Batch:
    """The compiled templates of one operation: constant bytes, and the gaps where users go."""

    def __init__(
        self, endpoint: Endpoint, operation: Operation, values: Mapping[str, str], run_id: str
    ) -> None:
        self.endpoint = endpoint
        self.adds = operation != Operation.REMOVE
        self.run_id = run_id
        self._word = endpoint.value_word(self.adds)
        word = self._word if isinstance(self._word, str) else json.dumps(self._word)
        self._values = {**values, "value": word}
        self._items_token = secrets.token_hex(16)
        self._joiner: str | None = None
        self._nobody: str | None = None
        item, outer, field = self._templates(operation)
        self._slots = _Slots()
        self.parts, self.makes = self._slots.split(orjson.dumps(fill(item, self._resolve, self._whole)))
        self.is_plain = all(make is str for make in self.makes)
        self.is_ids_alone = self.parts == [b'"', b'"'] and self.is_plain
        self._outer_slots = self._slots = _Slots()
        frame = parse_template(outer, field)
        _require_list_id(strings([frame, item]), values)
        body = fill(frame, self._resolve, self._whole)
        self._is_empty = body is None
        self._form = body if endpoint.body_format == BodyFormat.FORM else None
        self._format = BodyFormat.JSON if operation == Operation.CREATE else endpoint.body_format
        self.body_parts = orjson.dumps(body).split(b'"' + self._items_token.encode() + b'"')

    def _templates(self, operation: Operation) -> tuple[Any, str, str]:
        endpoint = self.endpoint
        own = endpoint.remove_item_template if operation == Operation.REMOVE else ""
        if endpoint.kind == Kind.PROPERTY:
            item = parse_template(own or endpoint.item_template, "item_template")
            if endpoint.message_ids and isinstance(item, dict):
                item = {**item, "messageId": "$message_id"}
            return item, endpoint.batch_template, "batch_template"
        field = f"{operation}_template"
        return (
            parse_template(own or endpoint.list_item_template, "list_item_template"),
            getattr(endpoint, field),
            field,
        )

    def _resolve(self, variable: Variable) -> str:
        if variable.name == "user_id":
            names = tuple(name for name in variable.filters if name != filters.NUMBER)
            make = (lambda user_id: filters.apply(names, user_id)) if names else str
            return self._slots.token(variable, make)
        if variable.name == "identifier_type" or variable.name.startswith(TRAIT):
            return self._slots.token(variable, partial(_along, variable))
        if variable.name == "message_id":
            return self._slots.token(variable, self._message_id)
        return resolver(self._values)(variable)

    def _whole(self, variable: Variable) -> object:
        if variable.name == "value" and not variable.filters:
            return self._word
        if variable.name == "is_last" and not variable.filters:
            return self._values["is_last"] == "true"
        if variable.name == "traits":
            return self._slots.token(variable, lambda user: _raw(traits_of(user)), bare=True)
        if variable.name.startswith(TRAIT) and not variable.filters:
            name = variable.name.removeprefix(TRAIT)
            # Another slot than that of the same trait within a text.
            whole = Variable(variable.name, ("whole",))
            return self._slots.token(whole, lambda user: _raw(traits_of(user).get(name)), bare=True)
        if variable.name == "items":
            joiner = filters.argument(variable.filters, filters.JOIN)
            self._joiner = None if joiner is None else (joiner or ",")
            self._nobody = filters.argument(variable.filters, filters.DEFAULT)
            return self._items_token
        if filters.NUMBER in variable.filters and variable.name == "user_id":
            kept = tuple(name for name in variable.filters if name != filters.NUMBER)
            make = self._number(Variable(variable.name, kept))
            return self._slots.token(variable, make, bare=True)
        return _number_of(variable, self._values)

    def _number(self, variable: Variable) -> Callable[[str], str]:
        return lambda user_id: str(as_number(variable, filters.apply(variable.filters, user_id)))

    def _message_id(self, user_id: str) -> str:
        return _digest(self.run_id, user_id, str(self.adds))

    def encode(self, user_ids: Sequence[str]) -> bytes:
        """Return the whole body."""
        if self._is_empty:
            return b""
        if self._form is not None:
            return self._encode_form(user_ids)
        body = self._items(user_ids).join(self.body_parts)
        if self._outer_slots.make:  # one user a request, named in the body beside the items
            return self._fill_outer(body, user_ids[0] if user_ids else "")
        return body

    def single(self, user_id: str) -> bytes:
        """Return the body of a request about one user."""
        item = self.item(user_id)
        if item == b"null":
            return b""
        if self.endpoint.body_format == BodyFormat.FORM:
            return urlencode(_flat(orjson.loads(item))).encode()
        return item

    def _fill_outer(self, body: bytes, user_id: str) -> bytes:
        parts, makes = self._outer_slots.split(body)
        return _filled(parts, makes, user_id)

    def _encode_form(self, user_ids: Sequence[str]) -> bytes:
        body = orjson.loads(self._items(user_ids).join(self.body_parts))
        if self._outer_slots.make:
            body = orjson.loads(self._fill_outer(orjson.dumps(body), user_ids[0] if user_ids else ""))
        return urlencode(_flat(body)).encode()

    def _items(self, user_ids: Sequence[str]) -> bytes:
        if self._nobody is not None and not user_ids:
            user_ids = [self._nobody]
        if self._joiner is not None:
            return orjson.dumps(self._joiner.join(self.texts(user_ids)))
        if self._format in LINES:
            items = map(self.item, user_ids)
            return _csv(items) if self._format == BodyFormat.CSV else b"\n".join(items) + b"\n"
        return self.array(user_ids)

    def array(self, user_ids: Sequence[str]) -> bytes:
        """Return the users' JSON in an array."""
        if self.is_ids_alone:
            return orjson.dumps(list(user_ids))
        if not self.is_plain:
            return b"[" + b",".join(map(self.item, user_ids)) + b"]"
        # Written out, for speed: no call of ours for each user.
        parts, dumps = self.parts, orjson.dumps
        return b"[" + b",".join([dumps(user_id)[1:-1].join(parts) for user_id in user_ids]) + b"]"

    def texts(self, user_ids: Sequence[str]) -> Iterator[str]:
        """Yield the users as texts, to be joined into one."""
        for user_id in user_ids:
            item = orjson.loads(self.item(user_id))
            yield item if isinstance(item, str) else json.dumps(item)

    def item(self, user_id: str) -> bytes:
        """Return one user's JSON."""
        return _filled(self.parts, self.makes, user_id)

    def fits(self, user_ids: Sequence[str], max_bytes: int) -> int:
        """Return how many users, from the start, a body of max_bytes holds: at least 1."""
        if self._form is not None:
            max_bytes //= 3  # bytes that one character may take more in a form
        end = len(",")
        frame = sum(map(len, self.body_parts)) + len("[]") - end  # one comma less than users
        if self._format == BodyFormat.CSV:  # the line of names; and lines end by two characters more
            end += 2
            frame += sum(map(len, self.parts)) + end
        fixed = len(self.item("")) + end if self.is_plain else 0
        # Encoding is spared when even the longest escapes would fit.
        longest = frame + len(user_ids) * fixed + sum(map(len, user_ids)) * len(self.makes) * MAX_ESCAPE
        if self.is_plain and longest <= max_bytes:
            return len(user_ids)
        size = frame
        for count, user_id in enumerate(user_ids):
            size += len(self.item(user_id)) + end
            if size > max_bytes:
                return max(count, 1)
        return len(user_ids)


class _Change:
    """The compiled template of a request that adds and removes, whose users are made as in those two."""

    def __init__(self, endpoint: Endpoint, added: _Batch, removed: _Batch, values: Mapping[str, str]) -> None:
        self._added, self._removed, self._values = added, removed, values
        self._is_form = endpoint.body_format == BodyFormat.FORM
        self._holders: dict[bytes, Variable] = {}
        frame = parse_template(endpoint.change_template, "change_template")
        _require_list_id(strings(frame), values)
        body = orjson.dumps(fill(frame, resolver(values), self._whole))
        self._parts = re.split(b'"(' + b"|".join(self._holders) + b')"', body)

    def _whole(self, variable: Variable) -> object:
        if variable.name in HOLDERS:
            token = secrets.token_hex(16)
            self._holders[token.encode()] = variable
            return token
        return _number_of(variable, self._values)

    def encode(self, added: Sequence[str], removed: Sequence[str]) -> bytes:
        """Return the whole body; neither is empty."""
        parts = list(self._parts)
        for at in range(1, len(parts), 2):
            parts[at] = self._users(self._holders[parts[at]], added, removed)
        body = b"".join(parts)
        return urlencode(_flat(orjson.loads(body))).encode() if self._is_form else body

    def _users(self, holder: Variable, added: Sequence[str], removed: Sequence[str]) -> bytes:
        enter = added if holder.name != "removed" else ()
        leave = removed if holder.name != "added" else ()
        joiner = filters.argument(holder.filters, filters.JOIN)
        if joiner is not None:
            both = [*self._added.texts(enter), *self._removed.texts(leave)]
            return orjson.dumps((joiner or ",").join(both))
        arrays = [
            batch.array(users) for batch, users in ((self._added, enter), (self._removed, leave)) if users
        ]
        return b"[" + b",".join(array[1:-1] for array in arrays) + b"]"

    def fits(self, user_ids: Sequence[str], max_bytes: int) -> int:
        """Return how many users a body of max_bytes holds, if all were of the kind that takes more."""
        most = max_bytes - sum(map(len, self._parts))
        return min(self._added.fits(user_ids, most), self._removed.fits(user_ids, most))


def _csv(items: Iterable[bytes]) -> bytes:
    """Return rows as CSV (RFC 4180), below the names that the first one has; a text is a row of its own."""
    rows = [orjson.loads(item) for item in items]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if rows and isinstance(rows[0], dict):
        writer.writerow(rows[0])
    for row in rows:
        cells = row.values() if isinstance(row, dict) else row if isinstance(row, list) else (row,)
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    return text.getvalue().encode()


class Raw(str):
    """JSON as it stands."""


def _along(variable: Variable, user: str) -> str:
    """Return what goes along with a user, within a text."""
    if variable.name == "identifier_type":
        return filters.apply(variable.filters, type_of(user))
    value = traits_of(user).get(variable.name.removeprefix(TRAIT), "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return filters.apply(variable.filters, text)


def _number_of(variable: Variable, values: Mapping[str, str]) -> object:
    """Return the number that a variable says, or NotImplemented for one that is text."""
    if filters.NUMBER not in variable.filters:
        return NotImplemented
    kept = tuple(name for name in variable.filters if name != filters.NUMBER)
    return as_number(variable, resolver(values)(Variable(variable.name, kept)))


def _raw(value: object) -> Raw:
    return Raw(orjson.dumps(value).decode())


def _filled(parts: Sequence[bytes], makes: Sequence[Callable[[str], str]], user_id: str) -> bytes:
    filled = [parts[0]]
    for make, part in zip(makes, parts[1:], strict=True):
        made = make(user_id)
        # A number stands without quotes, and is the same either way.
        filled += (made.encode() if isinstance(made, Raw) else orjson.dumps(made)[1:-1], part)
    return b"".join(filled)


def _flat(body: Any) -> list[tuple[str, str]]:
    """Return the fields of a form: objects and arrays within are JSON."""
    if not isinstance(body, dict):
        raise TemplateError("A form is made from a JSON object: {…}.")
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in body.items()
    ]


def _dump(body: Any, endpoint: Endpoint) -> bytes:
    if body is None:
        return b""
    if endpoint.body_format == BodyFormat.FORM:
        return urlencode(_flat(body)).encode()
    return orjson.dumps(body)


def _moments(now: float) -> dict[str, str]:
    moment = datetime.fromtimestamp(int(now), UTC)
    return {
        "now": moment.isoformat().replace("+00:00", "Z"),
        "now_unix": str(int(now)),
        "now_ms": str(int(now * 1000)),
    }


def _names(endpoint: Endpoint, cohort_name: str, cohort_key: str) -> dict[str, str]:
    return {
        "cohort_name": slug(cohort_name) if endpoint.slug_names else cohort_name,
        "cohort_id": cohort_key,
        "source_label": endpoint.source_label,
        "integration_name": endpoint.integration_name,
        "integration_version": endpoint.integration_version,
    }


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
