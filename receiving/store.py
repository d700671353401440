"""Writes of the partner's side: one bulk statement a call, sorted ids, set semantics.

Sorted, so that transactions that touch the same rows meet them in one order and PostgreSQL finds no
deadlock. Callers hold a transaction open around these functions.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from events.user_ids import is_one_of, rows_of
from receiving.errors import ApiError, InvalidUsers, list_not_found
from receiving.faults import rejected_users
from receiving.models import List, MemberSet, SeenMessage, Trait, Workspace
from receiving.shapes import Change
from receiving.statements import column, locked_column, run, run_in_order

DRAIN_ROWS = 10_000


# --- lists ---------------------------------------------------------------------------------


def check_quota(workspace: Workspace) -> None:
    """Raise ApiError when the workspace may have no more lists."""
    if workspace.max_lists is None:
        return
    if List.objects.filter(workspace=workspace).count() >= workspace.max_lists:
        raise ApiError(
            f"This workspace holds {workspace.max_lists:,} lists at most: delete some.",
            code="too_many_lists",
            status=403,
            limit=workspace.max_lists,
        )


def create_list(workspace: Workspace, name: str, origin: str | None = None) -> List:
    """Return a new list; with an origin that has one already, that one."""
    if origin is None:
        return List.objects.create(workspace=workspace, name=name, member_set=MemberSet.objects.create())
    # The set is made only if the list is, and in the same savepoint.
    new: dict[str, Any] = {"name": name, "member_set": MemberSet.objects.create}
    return List.objects.get_or_create(workspace=workspace, origin=origin, defaults=new)[0]


def lock_set(workspace: Workspace, list_id: str, *, alone: bool = False) -> int:
    """Return the set of a list, which cannot be dropped or exchanged before this transaction ends.

    Any number of adds and removes hold it at the same time; who drops or exchanges it holds it `alone`.
    Raises NotFound (list_not_found).
    """
    if not (list_id.isascii() and list_id.isdigit() and len(list_id) <= 18):
        raise list_not_found(list_id)
    found = locked_column(
        int(list_id),
        "SELECT member_set_id FROM receiving_list WHERE id = %s AND workspace_id = %s",
        [int(list_id), workspace.pk],
        alone=alone,
    )
    if not found:
        raise list_not_found(list_id)
    return int(found[0])


def add_members(set_id: int, user_ids: Sequence[str]) -> int:
    """Return how many were not in the set before. Rows that are there are not written again."""
    rows, ids = rows_of(connection, user_ids)
    return run(
        f"INSERT INTO receiving_listmember (set_id, user_id) SELECT %s, user_id FROM {rows} AS ids "
        "WHERE true ON CONFLICT DO NOTHING",
        [set_id, ids],
    )


def holds_all(workspace: Workspace, list_id: str, user_ids: Sequence[str]) -> bool:
    """Whether there is this list, and everybody of these is on it: then an add has nothing to write.

    One statement, so that it is true of one instant; it takes no lock, and stops at the first who is not on
    the list. The look-up is a scalar one: PostgreSQL would make a join of an EXISTS, and read the whole list.
    """
    if not (list_id.isascii() and list_id.isdigit() and len(list_id) <= 18):
        return False
    rows, ids = rows_of(connection, user_ids)
    return bool(
        column(
            "SELECT list.id FROM receiving_list AS list WHERE list.id = %s AND list.workspace_id = %s "
            f"AND NOT EXISTS (SELECT 1 FROM {rows} AS ids WHERE "
            "(SELECT 1 FROM receiving_listmember AS member "
            "WHERE member.set_id = list.member_set_id AND member.user_id = ids.user_id) IS NULL)",
            [int(list_id), workspace.pk, ids],
        )
    )


def remove_members(set_id: int, user_ids: Sequence[str]) -> int:
    """Return how many were in the set."""
    rows, ids = rows_of(connection, user_ids)
    if connection.vendor == "postgresql":
        return run_in_order(
            f"DELETE FROM receiving_listmember AS member USING {rows} AS ids "
            "WHERE member.set_id = %s AND member.user_id = ids.user_id",
            [ids, set_id],
        )
    return run(f"DELETE FROM receiving_listmember WHERE set_id = %s AND user_id IN {rows}", [set_id, ids])


def delete_list(workspace: Workspace, list_id: str) -> int:
    """Delete a list at once, then empty its set in short transactions; return how many members it had."""
    with transaction.atomic():
        set_id = lock_set(workspace, list_id, alone=True)
        List.objects.filter(pk=int(list_id)).delete()
        MemberSet.objects.filter(pk=set_id).update(dropped_at=timezone.now())
    return empty_set(set_id)


def drain_list(found: List) -> int:
    """Empty a list at once, by pointing it to a new set; return how many members it had."""
    with transaction.atomic():
        old = exchange_set(found.workspace, found.pk, MemberSet.objects.create().pk)
    return empty_set(old)


def exchange_set(workspace: Workspace, list_number: int, set_id: int) -> int:
    """Point a list to another set, in the open transaction; return the set that is to be emptied after it."""
    old = lock_set(workspace, str(list_number), alone=True)
    List.objects.filter(pk=list_number).update(member_set=set_id)
    MemberSet.objects.filter(pk=old).update(dropped_at=timezone.now())
    return old


def forget_workspace(workspace: Workspace) -> None:
    """Delete what a workspace keeps of users, in short transactions, before the workspace itself goes."""
    for trait in list(Trait.objects.filter(workspace=workspace).values_list("pk", flat=True)):
        _in_key_ranges("receiving_usertrait", "trait_id", trait)
    _in_key_ranges("receiving_knownuser", "workspace_id", workspace.pk)
    _in_key_ranges("receiving_seenmessage", "workspace_id", workspace.pk, "message")


def _in_key_ranges(table: str, part: str, number: int, key: str = "user_id") -> int:
    gone = 0
    while True:
        with transaction.atomic():
            some = _delete_first(table, part, number, key)
        gone += some
        if some < DRAIN_ROWS:
            return gone


def empty_set(set_id: int) -> int:
    """Delete the members of a dropped set, and then the set. Return how many there were."""
    gone = _in_key_ranges("receiving_listmember", "set_id", set_id)
    MemberSet.objects.filter(pk=set_id, dropped_at__isnull=False).delete()
    return gone


def _delete_first(table: str, part: str, number: int, key: str) -> int:
    """A key range, because a bounded DELETE over a composite key is not to be had on SQLite."""
    last = column(
        f"SELECT {key} FROM {table} WHERE {part} = %s ORDER BY {key} LIMIT 1 OFFSET %s",
        [number, DRAIN_ROWS - 1],
    )
    if not last:
        return run(f"DELETE FROM {table} WHERE {part} = %s", [number])
    return run(f"DELETE FROM {table} WHERE {part} = %s AND {key} <= %s", [number, last[0]])


# --- users and traits ----------------------------------------------------------------------


def add_known_users(workspace: Workspace, user_ids: Sequence[str]) -> int:
    """Make users known; return how many were not."""
    rows, ids = rows_of(connection, user_ids)
    return run(
        f"INSERT INTO receiving_knownuser (workspace_id, user_id) SELECT %s, user_id FROM {rows} AS ids "
        "WHERE true ON CONFLICT DO NOTHING",
        [workspace.pk, ids],
    )


def check_users(
    workspace: Workspace, user_ids: Collection[str], leavers: Collection[str] = ()
) -> Collection[str]:
    """Raise InvalidUsers that names those whom the workspace does not take.

    Of `leavers`, who only leave, somebody unknown has left already; returns these.
    """
    everybody = {*user_ids, *leavers}
    if not everybody:
        return ()
    refused = set(rejected_users(workspace, everybody))
    unknown = set(_unknown(workspace, sorted(everybody))) if workspace.known_users_only else set()
    refused |= unknown.intersection(user_ids)
    if refused:
        raise InvalidUsers(sorted(refused))
    return unknown


def _unknown(workspace: Workspace, user_ids: Sequence[str]) -> list[str]:
    rows, ids = rows_of(connection, user_ids)
    return column(
        f"SELECT ids.user_id FROM {rows} AS ids LEFT JOIN receiving_knownuser AS known "
        "ON known.workspace_id = %s AND known.user_id = ids.user_id WHERE known.user_id IS NULL",
        [ids, workspace.pk],
    )


def _hashed(messages: Iterable[str]) -> dict[str, str]:
    return {
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest(): text
        for text in messages
    }


def seen_messages(workspace: Workspace, messages: Iterable[str]) -> set[str]:
    """Return those of the message ids that took effect before."""
    hashes = _hashed(messages)
    if not hashes:
        return set()
    table = SeenMessage._meta.db_table
    are_these, given = is_one_of(connection, table, "workspace_id = %s", message=sorted(hashes))
    seen = column(f"SELECT message FROM {table} WHERE {are_these}", [*given, workspace.pk])
    return {hashes[value] for value in seen}


def take_messages(workspace: Workspace, messages: Iterable[str]) -> set[str]:
    """Note message ids as seen, and return those that are seen for the first time.

    Of two transactions with one id, the second waits for the first and then finds it taken.
    """
    hashes = _hashed(messages)
    if not hashes:
        return set()
    rows, values = rows_of(connection, sorted(hashes))
    new = column(
        f"INSERT INTO {SeenMessage._meta.db_table} (workspace_id, message, seen_at) "
        f"SELECT %s, user_id, %s FROM {rows} AS ids WHERE true ON CONFLICT DO NOTHING RETURNING message",
        [workspace.pk, timezone.now(), values],
    )
    return {hashes[value] for value in new}


# --- repeats -------------------------------------------------------------------------------


def is_first(workspace: Workspace, idempotency_key: str | None) -> bool:
    """Whether the call with this Idempotency-Key takes effect; one without a key always does."""
    if idempotency_key is None:
        return True
    return bool(take_messages(workspace, [_call(idempotency_key)]))


def is_repeat(workspace: Workspace, idempotency_key: str | None) -> bool:
    """Whether a call with this Idempotency-Key took effect before. Notes nothing."""
    return idempotency_key is not None and bool(seen_messages(workspace, [_call(idempotency_key)]))


def _call(idempotency_key: str) -> str:
    return f"call {idempotency_key}"


def origin_of(idempotency_key: str) -> str:
    """The origin of a list whose create call had this key: its repeat is answered with the same list."""
    return f"call {hashlib.sha256(idempotency_key.encode('utf-8', 'surrogateescape')).hexdigest()}"


def without_repeats(workspace: Workspace, items: list[Change]) -> list[Change]:
    """Return the items whose message id, if any, was not seen before; of two, the last. Notes the ids."""
    messages = _messages(items)
    return _those_with(items, take_messages(workspace, messages)) if messages else items


def not_yet_seen(workspace: Workspace, items: list[Change]) -> list[Change]:
    """As `without_repeats`, but without noting anything."""
    messages = _messages(items)
    return _those_with(items, messages - seen_messages(workspace, messages)) if messages else items


def _messages(items: list[Change]) -> set[str]:
    return {f"message {item.message_id}" for item in items if item.message_id is not None}


def _those_with(items: list[Change], messages: set[str]) -> list[Change]:
    last = {item.message_id: item for item in items}
    return [
        item
        for item in items
        if item.message_id is None
        or (f"message {item.message_id}" in messages and last[item.message_id] is item)
    ]
