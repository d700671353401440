"""Reading who is on a partner's list, page by page, in the memory of one page."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from requests.utils import parse_header_links

from destinations import filters, retry, templates
from destinations.claims import claims
from destinations.endpoint import Endpoint, Kind
from destinations.errors import DeliveryError, Misconfigured
from destinations.payloads import Encoder, Operation, Request
from destinations.reply_paths import find, look, parse_reply, texts
from destinations.transport import Transport

PAGE_AT_MOST = 16 * 1024 * 1024  # bytes of one page


def read_members(
    endpoint: Endpoint, list_id: str | None = None, *, scale: float = 1.0, **names: str
) -> Iterator[str]:
    """Yield the ids of all who are on the list (or have the property), as the partner knows them.

    names: cohort_name, cohort_key and external_name, for paths that use them. scale: of waits between
    tries, as in `retry.decide`. An id may come twice when the list changes meanwhile.
    Raises a DeliveryError (NotFound, ListGone where the list is none) and TemplateError.
    """
    for page in read_member_pages(endpoint, list_id, scale, **names):
        yield from page


def read_member_pages(
    endpoint: Endpoint, list_id: str | None = None, scale: float = 1.0, **names: str
) -> Iterator[list[str]]:
    """Yield what `read_members` does, page by page."""
    if not endpoint.read_path:
        raise Misconfigured("This destination has no read call.", code="no_read_call")
    with _reader(endpoint, list_id, **names) as (transport, encoder):
        yield from read_pages(transport, encoder.look(Operation.READ), scale=scale)


@contextmanager
def _reader(endpoint: Endpoint, list_id: str | None, **names: str) -> Iterator[tuple[Transport, Encoder]]:
    encoder = Encoder(
        endpoint,
        list_id=list_id,
        cohort_name=names.get("cohort_name", ""),
        cohort_key=names.get("cohort_key", ""),
        external_name=names.get("external_name", ""),
    )
    transport = Transport(endpoint)
    try:
        yield transport, encoder
    finally:
        transport.close()


def read_digest(endpoint: Endpoint, list_id: str | None = None, **names: str) -> tuple[int, str] | None:
    """Return how many are on the list and their digest (docs/partner.md, "Reading back"), in one request.

    None where the partner has none, or does not answer with one: then who is there is to be read.
    """
    with _reader(endpoint, list_id, **names) as (transport, encoder):
        request = encoder.digest()
        if request is None:
            return None
        data = parse_reply(_fetch(transport, request, 1.0)[1])
    count, digest = (next(iter(texts(data, (name,))), "") for name in ("count", "digest"))
    return (int(count[:18]), digest) if count.isascii() and count.isdecimal() else None


def read_pages(transport: Transport, request: Request, *, scale: float = 1.0) -> Iterator[list[str]]:
    """Yield the pages that begin with this request, each a list of ids; raise as `read_members` does."""
    pages = _Pages(transport.endpoint)
    following: Request | None = request
    while following is not None:
        asked = time.monotonic()
        headers, body = _fetch(transport, following, scale)
        page, following = pages.take(following, headers, body)
        yield page
        if following is not None and transport.endpoint.rate:
            time.sleep(max(0.0, asked + scale / transport.endpoint.rate - time.monotonic()))


def known_as(endpoint: Endpoint) -> Callable[[str], str]:
    """Return what makes of a user's id the id by which the partner knows it: the template's filters; `str`,
    when the partner knows it as it is.
    """
    item = endpoint.item_template if endpoint.kind == Kind.PROPERTY else endpoint.list_item_template
    paths = (endpoint.add_path, endpoint.add_template, endpoint.identify_path)
    for text in (*templates.strings(templates.parse_template(item, "list_item_template")), *paths):
        for variable in templates.found(text):
            if variable.name == "user_id":
                kept = tuple(name for name in variable.filters if name in filters.FILTERS and name != "url")
                return partial(filters.apply, kept) if kept else str
    return str


def nobody_of(endpoint: Endpoint) -> str | None:
    """Return the id that the partner has on a list without users (`${items|default:…}`); None without one."""
    if not endpoint.replaces_lists:
        return None
    nobody = templates.nobody(templates.parse_template(endpoint.add_template, "add_template"))
    return None if nobody is None else known_as(endpoint)(nobody)


def _fetch(transport: Transport, request: Request, scale: float) -> tuple[Mapping[str, str], bytes]:
    """Ask for a page, as often as a batch is tried."""
    attempt = 1
    while True:
        try:
            return transport.read(request, PAGE_AT_MOST)
        except DeliveryError as error:
            decision = retry.decide(attempt, error, uniform=random.uniform, scale=scale)
            if decision.action != retry.Action.RETRY:
                raise
            time.sleep(decision.wait)
            attempt += 1


class _Pages:
    """Takes the replies one by one, and says which request is next."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.paths: Mapping[str, Any] = endpoint.read_places
        self.nobody = nobody_of(endpoint)
        self.by = self.paths.get("by", "none")
        self.number = 0
        self.seen = 0
        self.first_url = ""
        self.mark: object = None

    def take(
        self, request: Request, headers: Mapping[str, str], body: bytes
    ) -> tuple[list[str], Request | None]:
        """Return the ids of a page, and the request for the next one or None."""
        self.first_url = self.first_url or request.url
        data = body.decode(errors="replace").split() if self.paths.get("lines") else parse_reply(body)
        self._check(data, body)
        total = self._total(data)
        page = self._ids(data, done=total == self.seen)
        self.seen += len(page)
        self.number += 1
        done = total is not None and self.seen >= total
        following = None if done else self._next(request.url, headers, data, page)
        if total is not None and following is None and self.seen < total:
            raise self._wrong(f"says {total:,} members and gives {self.seen:,}")
        members = page if self.nobody is None else [user for user in page if user != self.nobody]
        return members, _with_url(request, following) if following else None

    def _check(self, data: object, body: bytes) -> None:
        """Raise for a 2xx that says that it failed; what stands in the rows is about members."""
        about = _without(data, self.paths.get("rows", ""))
        if data is None:
            raise self._wrong("is not JSON")
        if left := claims(200, about, body, users=0, adding=False):
            raise self._wrong(f"says {left[0].says}")

    def _ids(self, data: object, *, done: bool) -> list[str]:
        path = self.paths.get("rows", "")
        found = list(find(data, path)) if path else [data]
        if not found and not done:
            raise self._wrong(f"has nothing at {path!r}")
        rows = [row for one in found if one is not None for row in (one if isinstance(one, list) else [one])]
        if field := self.paths.get("id"):
            rows = [next(iter(texts(row, (field,))), None) for row in rows]
        if any(not isinstance(row, str) or not row for row in rows):
            raise self._wrong(
                f"has a member without an id at {field!r}" if field else "has rows that are no ids"
            )
        return [str(row) for row in rows]

    def _total(self, data: object) -> int | None:
        path = self.paths.get("total")
        said = next(iter(texts(data, (path,))), "") if path else ""
        return int(said[:18]) if said.isdecimal() and said.isascii() else None

    def _next(self, url: str, headers: Mapping[str, str], data: object, page: list[str]) -> str | None:
        if self.by == "cursor":
            cursor = self._said(headers, data)
            return self._again(cursor) and _with_parameter(self.first_url, self.paths["parameter"], cursor)
        if self.by == "link":
            link = self._said(headers, data)
            return self._again(link) and self._same_host(urljoin(url, link))
        if self.by in ("page", "offset") and page:
            self._again("\n".join(page))
            first = self.paths.get("first", 1 if self.by == "page" else 0)
            number = first + (self.number if self.by == "page" else self.seen)
            return _with_parameter(self.first_url, self.paths["parameter"], str(number))
        return None

    def _said(self, headers: Mapping[str, str], data: object) -> str:
        kind, _, name = self.paths["next"].partition(":")
        if kind.lower() != "header":
            return next((one for one in look(data, self.paths["next"]) if isinstance(one, str)), "")
        value = headers.get(name) or ""
        if self.by == "link" and value.lstrip().startswith("<"):  # RFC 8288
            links = parse_header_links(value)
            return next((link["url"] for link in links if link.get("rel") == "next"), "")
        return value

    def _again(self, mark: str) -> str:
        """Return the mark of the next page; raise if one of before comes back: it would never end.

        One mark is kept, renewed at each power of two (Brent), so that a circle of any length is found.
        """
        if mark and mark == self.mark:
            raise self._wrong("leads back to a page of before")
        if self.number & (self.number - 1) == 0:
            self.mark = mark
        return mark

    def _same_host(self, url: str) -> str:
        base = urlsplit(self.endpoint.base_url)
        there = urlsplit(url)
        if (there.scheme, there.netloc.lower()) != (base.scheme, base.netloc.lower()):
            raise self._wrong(f"leads to another host ({there.netloc[:100]}), which is not asked")
        return url

    def _wrong(self, what: str) -> Misconfigured:
        page = f"Page {self.number + 1:,} of the list's members"
        return Misconfigured(self.endpoint.redact(f"{page} {what}."), code="unreadable_page")


def _with_url(request: Request, url: str) -> Request:
    return Request(request.operation, request.method, url, request.headers, b"", 0)


def _with_parameter(url: str, name: str, value: str) -> str:
    """Return the address with a parameter of its query set, in place of one of that name."""
    base, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] != name]
    return f"{base}?{'&'.join([*kept, urlencode({name: value})])}"


def _without(data: object, path: str) -> object:
    """Return parsed JSON without what stands at a dotted path."""
    key, _, rest = path.partition(".")
    if not path or not isinstance(data, dict):
        return None
    left = dict(data)
    value = left.pop(key, None)
    return left | {key: _without(value, rest)} if rest and isinstance(value, dict) else left
