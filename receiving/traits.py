"""Users' traits: the latest word about each, by the time at which it was said.

A trait's value is replaced by one of a later time, whichever came first; of two of one time the greater
stays. Our files of events decide by the same times and in the same way, so that what is read back here, and
who is in a behavioral cohort, are one truth; in tables of ClickHouse, of two of one time the one that was
inserted last stays. A trait that was unset keeps its time and an empty value, so
that an older word does not bring it back.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import orjson
from django.db import connection
from django.utils import timezone

from events.records import MAX_NAME, InvalidRecord, traits_line
from events.times import from_micros, micros
from events.user_ids import array_literal, is_one_of, rows_of
from receiving.errors import ApiError
from receiving.models import Trait, Workspace
from receiving.operations import CLEAR_ALL, GONE, operate
from receiving.shapes import BadField, Change, Operation
from receiving.statements import column, run

# Of the advisory locks of PostgreSQL, those of workspaces whose users' operations are applied.
OPERATION_LOCKS = 0x5EC2 << 48
NO_LIMIT = 2**31 - 1


class Held(NamedTuple):
    """A user's value of a trait, and since when, in microseconds since 1970."""

    value: Any
    time: int


def change_of(
    user_id: str,
    traits: dict[str, Any],
    moment: datetime,
    message_id: str | None = None,
    operations: tuple[Operation, ...] = (),
) -> Change:
    """Return a change with the event store's line of its plain traits. Raises BadField.

    The event store has no room for names above its limit: these are only read back from here.
    """
    line = None
    if traits:
        short = {
            name: None if value is GONE else value for name, value in traits.items() if len(name) <= MAX_NAME
        }
        try:
            line = traits_line({"user_id": user_id, "time": moment, "traits": short})
            _check_depth(traits.keys() - short.keys(), traits)
        except InvalidRecord as error:
            raise BadField("", f"cannot be taken: {error}") from None
    return Change(user_id, traits, micros(moment), message_id, operations, line)


def _check_depth(names: Iterable[str], traits: dict[str, Any]) -> None:
    for name in names:
        try:
            as_json(traits[name])
        except TypeError:
            raise InvalidRecord(f"the trait {name[:100]!r} is nested too deep") from None


def as_json(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is GONE else orjson.dumps(value).decode()


def long_names(changes: Iterable[Change]) -> int:
    """Return how many traits the event store has no room for."""
    return sum(len(name) > MAX_NAME for change in changes for name in change.traits)


def last_words(changes: list[Change]) -> list[Change]:
    """Return the changes without what a later one of the call says of the same user, trait and time."""
    if len({change.user_id for change in changes}) == len(changes):
        return changes
    said: set[tuple[str, str, int]] = set()
    found = []
    for change in reversed(changes):
        mine = {name: (change.user_id, name, change.time) for name in change.traits}
        if said.isdisjoint(mine.values()):
            found.append(change)
        else:
            left = {name: value for name, value in change.traits.items() if mine[name] not in said}
            moment = from_micros(change.time)
            found.append(change_of(change.user_id, left, moment, change.message_id, change.operations))
        said.update(mine.values())
    return found[::-1]


# --- writing -------------------------------------------------------------------------------


def write(workspace: Workspace, changes: Sequence[Change]) -> int:
    """Write plain values, in the open transaction; return how many are other than before."""
    by_name: dict[str, dict[str, tuple[int, str]]] = {}
    for change in changes:
        for name, value in change.traits.items():
            users = by_name.setdefault(name, {})
            said = change.time, as_json(value)
            before = users.get(change.user_id)
            # Of one call and one time, the last word counts.
            if before is None or said[0] >= before[0]:
                users[change.user_id] = said
    if not by_name:
        return 0
    ids = _trait_ids(workspace, sorted(by_name))
    now = micros(timezone.now())
    noted = {name: now if known.watched_at else None for name, known in ids.items()}
    return _upsert(
        sorted(
            (ids[name].pk, user, value, time, noted[name])
            for name, users in by_name.items()
            for user, (time, value) in users.items()
        )
    )


INTO = "INSERT INTO receiving_usertrait AS held (trait_id, user_id, value, time, changed_at) "
# As the event store decides, see convert.last_traits there.
LATER = (
    "WHERE true ON CONFLICT (trait_id, user_id) DO UPDATE SET value = excluded.value, time = excluded.time, "
    "changed_at = CASE WHEN held.value = excluded.value THEN held.changed_at ELSE excluded.changed_at END "
    "WHERE excluded.time > held.time OR excluded.time = held.time AND excluded.value > held.value"
)
OLD_VALUE = (
    "(SELECT value FROM receiving_usertrait AS old "
    "WHERE old.trait_id = written.trait_id AND old.user_id = written.user_id)"
)


def _upsert(rows: Sequence[tuple[int, str, str, int, int | None]]) -> int:
    if connection.vendor == "postgresql":
        numbers, users, values, times, noted = zip(*rows, strict=True)
        return int(
            column(
                "WITH incoming AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], "
                "%s::bigint[]) AS rows (trait_id, user_id, value, time, changed_at)), "
                f"written AS ({INTO}SELECT * FROM incoming "
                f'{LATER} COLLATE "C" RETURNING trait_id, user_id, value) '
                f"SELECT count(*) FROM written WHERE {OLD_VALUE} IS DISTINCT FROM written.value",
                [list(numbers), array_literal(users), array_literal(values), list(times), list(noted)],
            )[0]
        )
    source = (
        "(SELECT value ->> 0 AS trait_id, value ->> 1 AS user_id, value ->> 2 AS value, value ->> 3 AS time, "
        "value ->> 4 AS changed_at FROM json_each(%s))"
    )
    given = orjson.dumps(rows).decode()
    changes = column(
        f"SELECT count(*) FROM {source} AS incoming LEFT JOIN receiving_usertrait AS held "
        "USING (trait_id, user_id) WHERE held.value IS NOT incoming.value AND "
        "(held.time IS NULL OR (incoming.time, incoming.value) > (held.time, held.value))",
        [given],
    )
    run(f"{INTO}SELECT * FROM {source} {LATER}", [given])
    return int(changes[0])


class Known(NamedTuple):
    """A trait's key, and since when changes of its values are noted."""

    pk: int
    watched_at: int | None


def _trait_ids(workspace: Workspace, names: Sequence[str]) -> dict[str, Known]:
    known = _known_traits(workspace, names)
    new = [name for name in names if name not in known]
    if new:
        rows, values = rows_of(connection, new)
        most = NO_LIMIT if workspace.max_traits is None else workspace.max_traits
        run(
            f"INSERT INTO receiving_trait (workspace_id, name) SELECT %s, user_id FROM {rows} AS ids "
            "WHERE (SELECT count(*) FROM receiving_trait WHERE workspace_id = %s) + %s <= %s "
            "ON CONFLICT DO NOTHING",
            [workspace.pk, values, workspace.pk, len(new), most],
        )
        known = _known_traits(workspace, names)
        if len(known) < len(names):
            raise _too_many(workspace)
    return known


def _known_traits(workspace: Workspace, names: Sequence[str]) -> dict[str, Known]:
    rows, values = rows_of(connection, names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT name, id, watched_at FROM {Trait._meta.db_table} "
            f"WHERE workspace_id = %s AND name IN (SELECT user_id FROM {rows} AS ids)",
            [workspace.pk, values],
        )
        return {name: Known(pk, watched_at) for name, pk, watched_at in cursor.fetchall()}


def _too_many(workspace: Workspace) -> ApiError:
    return ApiError(
        f"This workspace holds {workspace.max_traits:,} different traits at most; nothing was applied.",
        code="too_many_traits",
        status=403,
        limit=workspace.max_traits,
    )


# --- operations ----------------------------------------------------------------------------


def operated_users(changes: Iterable[Change]) -> set[str]:
    """Return the users whose changes build on what they have."""
    return {change.user_id for change in changes if change.operations}


def resolve(workspace: Workspace, changes: Sequence[Change]) -> list[Change]:
    """Return the changes with their operations made plain values, in the open transaction.

    Calls with operations take turns in a workspace. The changes are of users who have operations here, and
    these are applied as they happened; one that came after a later word builds on that.
    """
    if not changes:
        return []
    if connection.vendor == "postgresql":
        column("SELECT pg_advisory_xact_lock(%s)", [OPERATION_LOCKS + workspace.pk])
    users = sorted({change.user_id for change in changes})
    names = {name for change in changes for name in change.traits}
    names |= {operation.trait for change in changes for operation in change.operations}
    clears = any(operation.name == CLEAR_ALL for change in changes for operation in change.operations)
    held = _held(workspace, users, None if clears else sorted(names))
    written: dict[tuple[str, str], Held] = {}
    for change in sorted(changes, key=lambda one: one.time):
        mine = held.setdefault(change.user_id, {})
        for name, new in _applied(change, mine).items():
            mine[name] = written[change.user_id, name] = new
    return _as_changes(written)


def _applied(change: Change, held: dict[str, Held]) -> dict[str, Held]:
    new: dict[str, Held] = {}
    for operation in change.operations:
        if operation.name == CLEAR_ALL:
            new |= {
                name: Held(GONE, max(change.time, old.time + 1))
                for name, old in held.items()
                if old.time <= change.time and old.value is not GONE
            }
            continue
        old = new.get(operation.trait) or held.get(operation.trait) or Held(GONE, 0)
        value = operate(operation, old.value)
        if value is not old.value:
            new[operation.trait] = Held(value, max(change.time, old.time + 1))
    for name, value in change.traits.items():
        old = new.get(name) or held.get(name) or Held(GONE, 0)
        if change.time >= old.time:
            new[name] = Held(value, max(change.time, old.time + (old.time == change.time)))
    return new


def _as_changes(written: dict[tuple[str, str], Held]) -> list[Change]:
    ordered = sorted((user, new.time, name) for (user, name), new in written.items())
    found = []
    for (user, time), group in groupby(ordered, key=lambda one: one[:2]):
        traits = {name: written[user, name].value for _, _, name in group}
        found.append(change_of(user, traits, from_micros(time)))
    return found


def _held(
    workspace: Workspace, users: Sequence[str], names: Sequence[str] | None
) -> dict[str, dict[str, Held]]:
    rows, texts = rows_of(connection, names or [])
    only = f" AND name IN (SELECT user_id FROM {rows} AS names)" if names is not None else ""
    ours = f"SELECT id FROM receiving_trait WHERE workspace_id = %s{only}"
    are_these, given = is_one_of(connection, "receiving_usertrait", f"trait_id IN ({ours})", user_id=users)
    found: dict[str, dict[str, Held]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT held.user_id, trait.name, held.value, held.time FROM "
            f"(SELECT user_id, trait_id, value, time FROM receiving_usertrait WHERE {are_these}) AS held "
            "JOIN receiving_trait AS trait ON trait.id = held.trait_id",
            [*given, workspace.pk, *([texts] if names is not None else [])],
        )
        for user, name, value, time in cursor.fetchall():
            found.setdefault(user, {})[name] = Held(GONE if value == "" else orjson.loads(value), time)
    return found


def all_of(workspace: Workspace, user_id: str) -> list[tuple[str, str, int]]:
    """Return a user's traits by name: JSON texts, and since when. Those that were unset are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT trait.name, held.value, held.time FROM receiving_trait AS trait "
            "JOIN receiving_usertrait AS held ON held.trait_id = trait.id AND held.user_id = %s "
            "WHERE trait.workspace_id = %s AND held.value <> '' ORDER BY trait.name",
            [user_id, workspace.pk],
        )
        return [(name, value, time) for name, value, time in cursor.fetchall()]


# --- who has changed -----------------------------------------------------------------------


def watch(workspace: Workspace, names: Sequence[str]) -> dict[str, Known]:
    """From now on note when values of these traits change; return them."""
    if not names:
        return {}
    known = _trait_ids(workspace, names)
    if new := [one.pk for one in known.values() if one.watched_at is None]:
        Trait.objects.filter(pk__in=new, watched_at=None).update(watched_at=micros(timezone.now()))
        known = _known_traits(workspace, names)
    return known


def changed_page(trait_id: int, since: int, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
    """Return whose values of a trait changed after `since`: (time, user id) in order, beyond `after`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT changed_at, user_id FROM receiving_usertrait WHERE trait_id = %s "
            "AND changed_at IS NOT NULL AND changed_at > %s AND (changed_at, user_id) > (%s, %s) "
            "ORDER BY changed_at, user_id LIMIT %s",
            [trait_id, since, *after, limit],
        )
        return [(time, user_id) for time, user_id in cursor.fetchall()]


def values_of(workspace: Workspace, names: Sequence[str], users: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the values that users have of these traits, by user and name."""
    held = _held(workspace, users, names)
    return {
        user: {name: one.value for name, one in traits.items() if one.value is not GONE}
        for user, traits in held.items()
    }
