"""Who is behind a key that a partner is sent, as SQL: see models.Link and projecting.py.

Written by a refresh of the projection alone, in the transactions that write its members; what a dead refresh
left is wiped by the next one, like members.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from django.db import connection

from destinations.known import Known
from events.user_ids import array_literal, is_one_of

TABLE = "syncs_link"
ROWS = 5_000

# Type and traits.
Said = tuple[str, str]


class New(NamedTuple):
    """A user is known by a key from now on."""

    user_id: str
    key: str
    type: str
    traits: str

    @property
    def said(self) -> Said:
        return self.type, self.traits


def of_users(projection_id: int, user_ids: Sequence[str]) -> dict[str, dict[str, Said]]:
    """Return the keys of users as they are now, with type and traits."""
    here = "projection_id = %s AND left_version IS NULL"
    are_these, given = is_one_of(connection, TABLE, here, user_id=user_ids)
    found: dict[str, dict[str, Said]] = {}
    for user_id, key, *said in _rows(
        f"SELECT user_id, key, type, traits FROM {TABLE} WHERE {are_these}", [*given, projection_id]
    ):
        found.setdefault(user_id, {})[key] = (said[0], said[1])
    return found


def first_of(projection_id: int, keys: Sequence[str]) -> dict[str, New]:
    """Return, of the keys that somebody has now, the first who has it."""
    return {
        key: New(user_id, key, kind, traits)
        for user_id, key, kind, traits in _first(projection_id, keys, "left_version IS NULL", [])
    }


def known(projection_id: int, version: int | None, keys: Sequence[str]) -> list[str]:
    """Return the keys with what goes along with them in a version (None: in any that is known)."""
    when, params = "TRUE", []
    if version is not None:
        when, params = "entered_version <= %s AND (left_version IS NULL OR left_version > %s)", [version] * 2
    found = {
        key: Known.of(key, kind, orjson.loads(traits) if traits else {})
        for _, key, kind, traits in _first(projection_id, keys, when, params)
    }
    return [found.get(key, key) for key in keys]


def _first(projection_id: int, keys: Sequence[str], when: str, params: list[int]) -> list[Any]:
    are_these, given = is_one_of(connection, TABLE, f"projection_id = %s AND {when}", key=keys)
    return _rows(
        f"SELECT user_id, key, type, traits FROM {TABLE} AS link WHERE {are_these} "
        f"AND user_id = (SELECT MIN(user_id) FROM {TABLE} AS one "
        f"WHERE one.projection_id = link.projection_id AND one.key = link.key AND {when})",
        [*given, projection_id, *params, *params],
    )


def users(projection_id: int) -> Iterator[str]:
    """Yield all who have a key now, in user order."""
    after, page = "", [""]
    while page:
        page = [
            user_id
            for (user_id,) in _rows(
                f"SELECT DISTINCT user_id FROM {TABLE} WHERE projection_id = %s AND left_version IS NULL "
                "AND user_id > %s ORDER BY user_id LIMIT %s",
                [projection_id, after, ROWS],
            )
        ]
        yield from page
        after = page[-1] if page else after


Interval = tuple[int, int | None]


def intervals_of(user_id: str) -> dict[int, dict[str, list[Interval]]]:
    """Return by which keys a user is or was known, by projection and key."""
    found: dict[int, dict[str, list[Interval]]] = {}
    for projection_id, key, entered, left in _rows(
        f"SELECT projection_id, key, entered_version, left_version FROM {TABLE} WHERE user_id = %s "
        "AND projection_id IN (SELECT projection_id FROM syncs_sync WHERE projection_id IS NOT NULL) "
        "ORDER BY projection_id, key, entered_version",
        [user_id],
    ):
        found.setdefault(projection_id, {}).setdefault(key, []).append((entered, left))
    return found


def erase(projection_id: int, user_id: str) -> int:
    """Delete all that a projection says of a user; return how many links."""
    return _run(f"DELETE FROM {TABLE} WHERE projection_id = %s AND user_id = %s", [projection_id, user_id])


def write(projection_id: int, number: int, ended: Sequence[tuple[str, str]], begun: Sequence[New]) -> None:
    """End the links of users with keys, and begin others, at a version."""
    for user_ids, keys in _pairs(ended):
        # Of one version: what it began it can end only as if it had never been.
        new = "projection_id = %s AND entered_version = %s"
        are_these, given = is_one_of(connection, TABLE, new, user_id=user_ids, key=keys)
        _run(f"DELETE FROM {TABLE} WHERE {are_these}", [*given, projection_id, number])
        here = "projection_id = %s AND left_version IS NULL"
        are_these, given = is_one_of(connection, TABLE, here, user_id=user_ids, key=keys)
        _run(f"UPDATE {TABLE} SET left_version = %s WHERE {are_these}", [number, *given, projection_id])
    for start in range(0, len(begun), ROWS):
        page = begun[start : start + ROWS]
        if connection.vendor == "postgresql":
            source = (
                "unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS new (user_id, key, type, traits)"
            )
            given = [array_literal(column) for column in zip(*page, strict=True)]
        else:
            source = (
                "(SELECT value ->> 0 AS user_id, value ->> 1 AS key, value ->> 2 AS type, "
                "value ->> 3 AS traits FROM json_each(%s)) AS new"
            )
            given = [orjson.dumps([tuple(new) for new in page]).decode()]
        _run(
            f"INSERT INTO {TABLE} (projection_id, user_id, key, entered_version, left_version, type, traits) "
            f"SELECT %s, user_id, key, %s, NULL, type, traits FROM {source}",
            [projection_id, number, *given],
        )


def wipe_page(projection_id: int, published: int, limit: int) -> int:
    """Undo up to `limit` writes of versions later than `published`; return how many it found."""
    key = "user_id, key, entered_version"
    late = "entered_version > %s AND entered_version > 1" if published else "entered_version > %s"
    for undo, written in (
        (f"DELETE FROM {TABLE}", late),
        (f"UPDATE {TABLE} SET left_version = NULL", "left_version > %s"),
    ):
        found = _run(
            f"{undo} WHERE projection_id = %s AND ({key}) IN "
            f"(SELECT {key} FROM {TABLE} WHERE projection_id = %s AND {written} LIMIT %s)",
            [projection_id, projection_id, published, limit],
        )
        if found:
            return found
    return 0


def drop_ended(projection_id: int, floor: int) -> int:
    """Delete links that ended at or before a version; return how many."""
    return _run(
        f"DELETE FROM {TABLE} WHERE projection_id = %s AND left_version <= %s", [projection_id, floor]
    )


def drop_ownerless() -> int:
    """Delete links of projections that are gone; return how many."""
    return _run(f"DELETE FROM {TABLE} WHERE projection_id NOT IN (SELECT id FROM cohorts_cohort)", [])


def _pairs(ended: Sequence[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
    for start in range(0, len(ended), ROWS):
        page = ended[start : start + ROWS]
        yield [user_id for user_id, _ in page], [key for _, key in page]


def _rows(sql: str, params: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _run(sql: str, params: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)
