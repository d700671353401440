"""Reading back: lists, members in user order, traits, and a digest to compare two lists by.

The digest of a list is the sum of the SHA-256 of its user ids, as numbers, modulo 2^256, in 64 hex
digits: it needs no order, so a sender can add it up as its own rows come. An empty list has 64 zeros.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
from django.db import connection
from django.http import StreamingHttpResponse

from events.user_ids import InvalidUserId, check_user_id, digest_of, sum_of
from receiving.call import Call
from receiving.errors import BadRequest, NotFound, list_not_found
from receiving.models import KnownUser, List, Trait, Workspace

PAGE = 1_000
LARGEST_PAGE = 10_000
STREAM_PAGE = 10_000
# Of one user, so many lists and traits are shown.
MOST_SHOWN = 1_000
# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Members:
    """Where a set of users is read: a list's members, or the users whose trait is true."""

    table: str
    column: str
    number: int
    condition: str = ""
    values: tuple[str, ...] = ()

    def page(self, after: str, limit: int) -> list[str]:
        """Return up to `limit` user ids that follow `after`, in order."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT user_id FROM {self.table} WHERE {self.column} = %s AND user_id > %s "
                f"{self.condition} ORDER BY user_id LIMIT %s",
                [self.number, after, *self.values, limit],
            )
            return [row[0] for row in cursor.fetchall()]

    def page_from(self, first: str, limit: int) -> list[str]:
        """Return up to `limit` user ids from `first` on, in order."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT user_id FROM {self.table} WHERE {self.column} = %s AND user_id >= %s "
                f"{self.condition} ORDER BY user_id LIMIT %s",
                [self.number, first, *self.values, limit],
            )
            return [row[0] for row in cursor.fetchall()]

    def count(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM {self.table} WHERE {self.column} = %s {self.condition}",
                [self.number, *self.values],
            )
            return int(cursor.fetchone()[0])

    def pages(self) -> Iterator[list[str]]:
        """All users, page by page: no cursor stays open while the reader is slow."""
        after = ""
        while page := self.page(after, STREAM_PAGE):
            yield page
            after = page[-1]


def members_of_set(set_id: int) -> Members:
    return Members("receiving_listmember", "set_id", set_id)


def find_list(workspace: Workspace, list_id: str) -> List:
    if not (list_id.isascii() and list_id.isdigit() and len(list_id) <= 18):
        raise list_not_found(list_id)
    found = List.objects.filter(workspace=workspace, pk=int(list_id)).first()
    if found is None:
        raise list_not_found(list_id)
    return found


def set_of(workspace: Workspace, list_id: str) -> Members:
    return members_of_set(find_list(workspace, list_id).member_set_id)


def holders_of(workspace: Workspace, name: str) -> Members:
    """The users whose value of this trait is true: the members of a property."""
    if not name:
        raise BadRequest("name is missing: the trait, URL-quoted.")
    found = None if "\x00" in name else Trait.objects.filter(workspace=workspace, name=name).first()
    if found is None:
        raise NotFound(f"No user has the trait {name[:100]!r}.", code="trait_not_found")
    return Members("receiving_usertrait", "trait_id", found.pk, "AND value = 'true'")


def _list_as_json(found: List) -> dict[str, Any]:
    return {
        "listId": found.pk,
        "name": found.name,
        "createdAt": found.created_at,
        "size": members_of_set(found.member_set_id).count(),
    }


def _limit(text: str) -> int:
    if not text:
        return PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= LARGEST_PAGE):
        raise BadRequest(f"limit is not a number from 1 to {LARGEST_PAGE:,}.")
    return int(text)


def lists(workspace: Workspace, after: str, limit: str) -> dict[str, Any]:
    """A page of the workspace's lists, oldest first; `next` is what to send as `after`, or null."""
    if after and not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise BadRequest("after is not a list id.")
    number = min(_limit(limit), PAGE)
    found = list(
        List.objects.filter(workspace=workspace, pk__gt=int(after or 0)).order_by("pk")[: number + 1]
    )
    page = found[:number]
    return {
        "lists": [_list_as_json(one) for one in page],
        "next": str(page[-1].pk) if len(found) > number else None,
    }


def describe_list(workspace: Workspace, list_id: str) -> dict[str, Any]:
    return _list_as_json(find_list(workspace, list_id))


def digest(members: Members) -> dict[str, Any]:
    count = 0
    total = 0
    for page in members.pages():
        count += len(page)
        total += sum_of(page)
    return {"count": count, "digest": digest_of(total)}


def members_reply(call: Call, members: Members) -> Any:
    """A page as JSON, or everyone as CSV or NDJSON (`format=csv`, `format=ndjson`), one a line."""
    kind = call.query("format", "json")
    if kind == "json":
        return _page_as_json(members, call.query("after"), _limit(call.query("limit")))
    if kind == "csv":
        safe = call.request is not None and "spreadsheet" in call.request.GET
        return csv_of(members, for_spreadsheet=safe)
    if kind == "ndjson":
        pages = (b"".join(map(_ndjson_line, page)) for page in members.pages())
        return StreamingHttpResponse(pages, content_type="application/x-ndjson")
    raise BadRequest("format is not json, csv or ndjson.")


def csv_of(members: Members, *, for_spreadsheet: bool = False) -> StreamingHttpResponse:
    """Everyone, in a file with one column; memory does not grow with the list.

    `for_spreadsheet`: what a spreadsheet would calculate gets an apostrophe, and does not read back the same.
    """
    line = _safe_csv_line if for_spreadsheet else _csv_line
    lines = chain(["userId\r\n"], ("".join(map(line, page)) for page in members.pages()))
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")


def _page_as_json(members: Members, after: str, limit: int) -> dict[str, Any]:
    if "\x00" in after:
        raise BadRequest("after contains a NUL character.")
    found = members.page(after, limit + 1)
    page = found[:limit]
    return {"userIds": page, "next": page[-1] if len(found) > limit else None}


def _csv_line(user_id: str) -> str:
    """Quoted always: a user id may hold a comma, a quote or a line end."""
    return '"' + user_id.replace('"', '""') + '"\r\n'


def _safe_csv_line(user_id: str) -> str:
    return _csv_line(f"'{user_id}" if user_id.startswith(FORMULA) else user_id)


def _ndjson_line(user_id: str) -> bytes:
    return orjson.dumps({"userId": user_id}, option=orjson.OPT_APPEND_NEWLINE)


def traits(workspace: Workspace, after: str, limit: str) -> dict[str, Any]:
    """A page of the names of traits, in order."""
    if "\x00" in after:
        raise BadRequest("after contains a NUL character.")
    number = _limit(limit)
    found = list(
        Trait.objects.filter(workspace=workspace, name__gt=after)
        .order_by("name")
        .values_list("name", flat=True)[: number + 1]
    )
    page = found[:number]
    return {"traits": page, "next": page[-1] if len(found) > number else None}


def describe_trait(workspace: Workspace, name: str) -> dict[str, Any]:
    """How many users have the value true."""
    return {"name": name, "size": holders_of(workspace, name).count()}


def describe_user(workspace: Workspace, user_id: str) -> dict[str, Any]:
    """The lists and traits of a user. Raises BadRequest, NotFound if there is nothing of the user."""
    try:
        user_id = check_user_id(user_id)
    except InvalidUserId as error:
        raise BadRequest(f"userId {error}.") from None
    on_lists = _lists_of_user(workspace, user_id)
    values = _traits_of_user(workspace, user_id)
    known = KnownUser.objects.filter(workspace_id=workspace.pk, user_id=user_id).exists()
    if not (on_lists or values or known):
        raise NotFound("There is nothing of this user.", code="user_not_found")
    return {"userId": user_id, "known": known, "lists": on_lists, "traits": values}


def _lists_of_user(workspace: Workspace, user_id: str) -> list[dict[str, Any]]:
    """One look-up by key for each list: an index by user would make every add slower."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT list.id, list.name FROM receiving_list AS list WHERE list.workspace_id = %s AND EXISTS "
            "(SELECT 1 FROM receiving_listmember AS member "
            "WHERE member.set_id = list.member_set_id AND member.user_id = %s) "
            f"ORDER BY list.id LIMIT {MOST_SHOWN}",
            [workspace.pk, user_id],
        )
        return [{"listId": number, "name": name} for number, name in cursor.fetchall()]


def _traits_of_user(workspace: Workspace, user_id: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT trait.name, mine.value FROM receiving_trait AS trait "
            "JOIN receiving_usertrait AS mine ON mine.trait_id = trait.id AND mine.user_id = %s "
            f"WHERE trait.workspace_id = %s AND mine.value <> '' ORDER BY trait.name LIMIT {MOST_SHOWN}",
            [user_id, workspace.pk],
        )
        return {name: orjson.loads(value) for name, value in cursor.fetchall()}
