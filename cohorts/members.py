"""Membership as SQL: who is in a version, what changed between two, and the writes of a refresh.

Everything is in user order and in pages, so that memory does not grow with the cohort and no cursor
stays open while somebody waits for a network. The statements are written by hand because the tables
have composite keys and millions of rows: the ORM has no join with a list of ids.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import orjson
from django.db import connection
from django.db.models import Max, Min, Q

from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion, Member
from events.user_ids import is_one_of, rows_of

PAGE = 10_000
# With more versions between two than this, one walk through the cohort is cheaper than one
# index page for each version, and SQLite limits the terms of a UNION.
MOST_VERSIONS_BY_INDEX = 40
# What COPY would take for something else than itself.
COPY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\r": "\\r"}
COPY_TABLE = str.maketrans({**COPY_ESCAPES, "\n": "\\n"})
READABLE = [VersionState.PUBLISHED, VersionState.HELD]


class UnreadableVersion(Exception):
    """The version was never published nor is it held, or pruning has removed some of its members."""


class Move(NamedTuple):
    """A user with a boundary between versions a and b: whether they were in a, and are in b."""

    user_id: str
    was: bool
    now: bool


def held_back_of(cohort_id: int) -> int:
    """Return the cohort id under which those stand who are held back from a cohort, version by version.

    They have the cohort's own version numbers, so that one UPDATE publishes both. Who is suppressed no more
    is found there, whatever the source was that named them.
    """
    return -cohort_id


def readable(cohort_id: int, version: int) -> None:
    """Raise UnreadableVersion unless the members of this version can be told exactly. 0 is empty."""
    if version == 0:
        return
    cohort = Cohort.every.get(pk=cohort_id)
    if not cohort.versions.filter(number=version, state__in=READABLE).exists():
        raise UnreadableVersion(f"{cohort.key} has no version {version}; the latest is {cohort.version}.")
    if version < cohort.readable_from:
        raise UnreadableVersion(
            f"Version {version} of {cohort.key} was pruned; "
            f"the oldest that can be read is {cohort.readable_from}."
        )


def size_of(cohort_id: int, version: int) -> int:
    """Return how many members a version has."""
    if version == 0:
        return 0
    return int(CohortVersion.objects.get(cohort_id=cohort_id, number=version).size)


def all_left_approved(cohort_id: int, a: int, b: int, user_ids: Iterator[str]) -> bool:
    """Say whether a person approved every version of (a, b] that was the last to lose one of the users."""
    versions = CohortVersion.objects.filter(cohort_id=cohort_id, number__gt=a, number__lte=b)
    approved = set(versions.exclude(decided_by="").values_list("number", flat=True))
    left = Member.objects.filter(cohort_id=cohort_id, left_version__gt=a, left_version__lte=b)
    while page := list(islice(user_ids, PAGE)):
        if not approved:
            return False
        last = left.filter(user_id__in=page).values("user_id").annotate(last=Max("left_version"))
        versions_left = list(last.values_list("last", flat=True))
        if len(versions_left) < len(page) or not approved.issuperset(versions_left):
            return False
    return True


def in_version(cohort_id: int, version: int) -> Iterator[str]:
    """Yield the members of a version in user order."""
    return chain.from_iterable(pages_of_version(cohort_id, version))


def pages_of_version(cohort_id: int, version: int) -> Iterator[list[str]]:
    """Yield the members of a version in user order, PAGE of them at a time."""
    after, page = "", [""]
    while page:
        if page := in_version_page(cohort_id, version, after, PAGE):
            yield page
            after = page[-1]


def in_version_page(cohort_id: int, version: int, after: str, limit: int) -> list[str]:
    """Return at most `limit` members of a version greater than `after`, in user order."""
    return _column(
        """SELECT user_id FROM cohorts_member
           WHERE cohort_id = %s AND user_id > %s AND entered_version <= %s
             AND (left_version IS NULL OR left_version > %s)
           ORDER BY user_id LIMIT %s""",
        [cohort_id, after, version, version, limit],
    )


def is_like_identifier(user_id: str) -> bool:
    """Say whether a user id looks like an address, a number or a hash: see `_identifiers_page`."""
    return "@" in user_id or user_id.startswith("+") or len(user_id) == 64


def identifiers_in(cohort_id: int, version: int) -> Iterator[list[str]]:
    """Yield the members of a version of whom `is_like_identifier` is true, in pages."""
    after, page = "", [""]
    while page:
        if page := _identifiers_page(cohort_id, version, after):
            yield page
            after = page[-1]


def _identifiers_page(cohort_id: int, version: int, after: str) -> list[str]:
    return _column(
        """SELECT user_id FROM cohorts_member
           WHERE cohort_id = %s AND user_id > %s AND entered_version <= %s
             AND (left_version IS NULL OR left_version > %s)
             AND (user_id LIKE '%%@%%' OR user_id LIKE '+%%' OR LENGTH(user_id) = 64)
           ORDER BY user_id LIMIT %s""",
        [cohort_id, after, version, version, PAGE],
    )


def is_in_version(cohort_id: int, version: int, user_ids: Sequence[str]) -> set[str]:
    """Return those of `user_ids` that are in the version."""
    are_these, given = _are_these(
        user_ids, "cohort_id = %s AND entered_version <= %s AND (left_version IS NULL OR left_version > %s)"
    )
    found = f"SELECT user_id FROM cohorts_member WHERE {are_these}"
    return set(_column(found, [*given, cohort_id, version, version]))


def since(cohort_id: int, version: int, user_ids: Sequence[str]) -> dict[str, int]:
    """Return since which version the users are in this one; who is not in it is left out."""
    here = Q(left_version=None) | Q(left_version__gt=version)
    rows = Member.objects.filter(here, cohort=cohort_id, user_id__in=user_ids, entered_version__lte=version)
    return dict(rows.values_list("user_id", "entered_version"))


def moves_page(cohort_id: int, a: int, b: int, after: str, limit: int) -> list[Move]:
    """Return, in user order, who entered or left at all in versions (a, b]: at most `limit` users > `after`.

    The cost follows the change, not the cohort, while the versions are few and the first load is
    not among them. Raises UnreadableVersion when a or b cannot be read.
    """
    readable(cohort_id, a)
    readable(cohort_id, b)
    numbers = _numbers_between(cohort_id, a, b)
    if not numbers:
        return []
    by_index = a > 0 and len(numbers) <= MOST_VERSIONS_BY_INDEX
    source, params = (
        _by_index(cohort_id, numbers, after, limit) if by_index else _by_walk(cohort_id, a, b, after)
    )
    # A user who was in a and has a boundary in (a, b] left in it; who is in b has an interval
    # that is open or ends later. Intervals do not overlap, so that any one row decides.
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT user_id, MAX(CASE WHEN entered_version <= %s THEN 1 ELSE 0 END),
                       MAX(CASE WHEN left_version IS NULL OR left_version > %s THEN 1 ELSE 0 END)
                FROM ({source}) AS touched GROUP BY user_id ORDER BY user_id LIMIT %s""",
            [a, b, *params, limit],
        )
        return [Move(user_id, bool(was), bool(now)) for user_id, was, now in cursor.fetchall()]


def _numbers_between(cohort_id: int, a: int, b: int) -> list[int]:
    changed = CohortVersion.objects.filter(
        cohort_id=cohort_id, number__gt=a, number__lte=b, state__in=READABLE
    )
    return [
        n for n, e, left in changed.values_list("number", "entered", "left").order_by("number") if e or left
    ]


def _by_index(cohort_id: int, numbers: list[int], after: str, limit: int) -> tuple[str, list[Any]]:
    """One ordered index page for each boundary of each version: each can hold the first `limit` users."""
    pages: list[str] = []
    params: list[Any] = []
    for number in numbers:
        for boundary in (_entered(), _left()):
            pages.append(
                f"""SELECT * FROM (SELECT user_id, entered_version, left_version FROM {boundary}
                    AND cohort_id = %s AND user_id > %s ORDER BY user_id LIMIT %s) AS page_{len(pages)}"""
            )
            params += [number, cohort_id, after, limit]
    return " UNION ALL ".join(pages), params


def _entered() -> str:
    # SQLite puts a constant in place of a column that equals it, in the index's condition too, which it
    # then does not recognize; IS is left alone. INDEXED BY fails when the index cannot serve.
    if connection.vendor == "sqlite":
        return "cohorts_member INDEXED BY member_entered WHERE entered_version IS %s AND entered_version > 1"
    return "cohorts_member WHERE entered_version = %s AND entered_version > 1"


def _left() -> str:
    hint = "INDEXED BY member_left" if connection.vendor == "sqlite" else ""
    return f"cohorts_member {hint} WHERE left_version = %s"


def _by_walk(cohort_id: int, a: int, b: int, after: str) -> tuple[str, list[Any]]:
    return (
        """SELECT user_id, entered_version, left_version FROM cohorts_member
           WHERE cohort_id = %s AND user_id > %s AND ((entered_version > %s AND entered_version <= %s)
                                                   OR (left_version > %s AND left_version <= %s))""",
        [cohort_id, after, a, b, a, b],
    )


def stayed(cohort_id: int, a: int, b: int, limit: int) -> list[str]:
    """Return some users who were in the cohort in every version from a to b, at most `limit`."""
    return _column(
        """SELECT user_id FROM cohorts_member
           WHERE cohort_id = %s AND entered_version <= %s AND (left_version IS NULL OR left_version > %s)
           ORDER BY user_id LIMIT %s""",
        [cohort_id, a, b, limit],
    )


# --- the writes of a refresh; each is called inside a transaction that has checked its claim ----


def enter(cohort_id: int, number: int, user_ids: Sequence[str]) -> None:
    """Open an interval at version `number` for each of the users, who are in user order."""
    if connection.vendor == "postgresql":
        _copy_in(cohort_id, number, user_ids)
        return
    rows, ids = rows_of(connection, user_ids)
    _write(
        len(user_ids),
        f"""INSERT INTO cohorts_member (cohort_id, user_id, entered_version, left_version)
            SELECT %s, user_id, %s, NULL FROM {rows} u""",
        [cohort_id, number, ids],
    )


def _copy_in(cohort_id: int, number: int, user_ids: Sequence[str]) -> None:
    """What `enter` does, by PostgreSQL's COPY."""
    text = "\n".join(user_ids)
    if text.count("\n") >= len(user_ids) or any(special in text for special in COPY_ESCAPES):
        text = "\n".join(user_id.translate(COPY_TABLE) for user_id in user_ids)
    before, after = f"{cohort_id}\t", f"\t{number}\t\\N\n"
    rows = before + text.replace("\n", after + before) + after
    columns = "cohort_id, user_id, entered_version, left_version"
    with connection.wrap_database_errors, connection.cursor() as cursor:
        with cursor.copy(f"COPY cohorts_member ({columns}) FROM STDIN") as copy:
            copy.write(rows)
        _check_written(len(user_ids), cursor.rowcount)


def leave(cohort_id: int, number: int, user_ids: Sequence[str]) -> None:
    """Close the open interval of each of the users at version `number`."""
    are_these, given = _are_these(
        user_ids, "cohort_id = %s AND left_version IS NULL AND entered_version < %s"
    )
    _write(
        len(user_ids),
        f"UPDATE cohorts_member SET left_version = %s WHERE {are_these}",
        [number, *given, cohort_id, number],
    )


def undo_or_leave(cohort_id: int, number: int, user_ids: Sequence[str]) -> tuple[int, int]:
    """Close the open intervals of users, some of whom entered at this very version: those never were.

    Return how many left, and how many never entered.
    """
    new, given = _are_these(user_ids, "cohort_id = %s AND entered_version = %s")
    undone = _execute(f"DELETE FROM cohorts_member WHERE {new}", [*given, cohort_id, number])
    if undone < len(user_ids):
        inside, given = _are_these(user_ids, "cohort_id = %s AND left_version IS NULL")
        left = _execute(
            f"UPDATE cohorts_member SET left_version = %s WHERE {inside}", [number, *given, cohort_id]
        )
        _check_written(len(user_ids), undone + left)
        return left, undone
    return 0, undone


def entered_at(cohort_id: int, number: int, user_ids: Sequence[str]) -> set[str]:
    """Return those of the users whose interval began at this version."""
    are_these, given = _are_these(user_ids, "cohort_id = %s AND entered_version = %s")
    return set(_column(f"SELECT user_id FROM cohorts_member WHERE {are_these}", [*given, cohort_id, number]))


def erase(cohort_id: int, user_id: str) -> int:
    """Delete all of a user's time in a cohort; return how many intervals."""
    return _execute("DELETE FROM cohorts_member WHERE cohort_id = %s AND user_id = %s", [cohort_id, user_id])


def wipe_page(cohort_id: int, published: int, limit: int) -> int:
    """Undo up to `limit` writes of versions later than `published`; return how many it found."""
    late = "entered_version > %s AND entered_version > 1" if published else "entered_version > %s"
    entered = _column(
        f"SELECT user_id FROM cohorts_member WHERE cohort_id = %s AND {late} LIMIT %s",
        [cohort_id, published, limit],
    )
    if entered:
        are_these, given = _are_these(entered, "cohort_id = %s AND entered_version > %s")
        _execute(f"DELETE FROM cohorts_member WHERE {are_these}", [*given, cohort_id, published])
        return len(entered)
    left = _column(
        """SELECT user_id FROM cohorts_member WHERE cohort_id = %s
           AND left_version IS NOT NULL AND left_version > %s LIMIT %s""",
        [cohort_id, published, limit],
    )
    # The plus keeps SQLite from walking the index of all who left instead of looking these up.
    are_these, given = _are_these(left, "cohort_id = %s AND +left_version > %s")
    _execute(
        f"UPDATE cohorts_member SET left_version = NULL WHERE {are_these}", [*given, cohort_id, published]
    )
    return len(left)


def drain_page(cohort_id: int, after: str, limit: int) -> str | None:
    """Delete the next `limit` rows of a cohort that is gone, from `after` on; return how far it went.

    None when none is left. A key range and not a list of keys: on SQLite, with a composite key, the
    ORM's bounded delete deletes everything.
    """
    where = "FROM cohorts_member WHERE cohort_id = %s AND user_id > %s"
    page = _column(f"SELECT user_id {where} ORDER BY user_id LIMIT %s", [cohort_id, after, limit])
    if not page:
        return None
    _execute(f"DELETE {where} AND user_id <= %s", [cohort_id, after, page[-1]])
    return page[-1]


def drop_ended_page(cohort_id: int, floor: int, limit: int) -> int:
    """Delete intervals that ended at or before version `floor`, of up to `limit` of them; return how many.

    At least as many as were looked up go: a user may have several intervals that ended.
    """
    ended = _column(
        """SELECT user_id FROM cohorts_member
           WHERE cohort_id = %s AND left_version IS NOT NULL AND left_version <= %s LIMIT %s""",
        [cohort_id, floor, limit],
    )
    # The plus keeps SQLite from walking the index of all who left instead of looking these up.
    are_these, given = _are_these(ended, "cohort_id = %s AND +left_version <= %s")
    return _execute(f"DELETE FROM cohorts_member WHERE {are_these}", [*given, cohort_id, floor])


def ownerless() -> int | None:
    """Return the lowest id of a cohort that has members, or users held back, but is gone; or None."""
    # One index step for each cohort, however many members it has.
    step = Member.objects.aggregate(least=Min("cohort_id"))
    while (found := step["least"]) is not None:
        if not Cohort.every.filter(pk=abs(found)).exists():
            return int(found)
        step = Member.objects.filter(cohort_id__gt=found).aggregate(least=Min("cohort_id"))
    return None


def analyze() -> None:
    """Tell PostgreSQL's planner about a bulk load now, not when autovacuum comes round."""
    if connection.vendor == "postgresql":
        _execute("ANALYZE cohorts_member", [])


def _are_these(user_ids: Sequence[str], condition: str) -> tuple[str, list[Any]]:
    return is_one_of(connection, "cohorts_member", condition, user_id=user_ids)


def _column(sql: str, params: Sequence[Any]) -> list[str]:
    """Return the user ids that a query selects, in user order.

    They leave the database as one JSON text, which costs half of what rows do; and on SQLite, where
    each row takes turns with this process's other threads, those go on meanwhile.
    """
    array = "json_agg(user_id)::text" if connection.vendor == "postgresql" else "json_group_array(user_id)"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {array} FROM ({sql}) AS page", params)
        return sorted(orjson.loads(cursor.fetchone()[0] or "[]"))


def _write(expected: int, sql: str, params: Sequence[Any]) -> None:
    """Execute a write that must touch exactly this many rows: less, and a version would lie."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        _check_written(expected, cursor.rowcount)


def _check_written(expected: int, written: int) -> None:
    if written != expected:
        raise RuntimeError(f"{expected} members should have been written, {written} were.")


def _execute(sql: str, params: Sequence[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)
