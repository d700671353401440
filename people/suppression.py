"""The list of people who are sent nowhere: putting people on it, taking them off, asking who is on it.

Suppressed people are left out where versions of cohorts are made (cohorts/refresh.py). Every change of the
list has a number; a cohort keeps the one that it last looked at, and asks for who changed since.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection, models, transaction
from django.db.models import F, Q
from django.utils import timezone

from events.user_ids import InvalidUserId, check_user_id, is_one_of
from pagekit.identifiers import InvalidIdentifier
from people.identifiers import Kind, digests_of, hint_of, looked_up
from people.models import Suppression, SuppressionClock
from people.tombstones import Tombstones

PAGE = 5_000


class InvalidEntry(ValueError):
    """What was given is no person; the message is a sentence that names it."""


class Entry(NamedTuple):
    """A person: `value` is a user id, or the hash of an identifier; `hint` is shown in place of a hash."""

    kind: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Said:
    """What is known of a suppression besides the person."""

    reason: str = ""
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None
    at_once: bool = False


def entry_of(kind: str, text: object) -> Entry:
    """Return a person as the list keeps them: by user id, or by an identifier in clear or hashed (SHA-256).

    Raises InvalidEntry.
    """
    try:
        if kind == Kind.USER_ID:
            return Entry(kind, check_user_id(text))
        if not isinstance(text, str):
            raise InvalidIdentifier("is no text")
        return Entry(kind, digests_of(kind, text)[0], hint_of(kind, text))
    except (InvalidUserId, InvalidIdentifier) as error:
        shown = repr(text if len(repr(text)) < 80 else f"{str(text)[:60]}…")
        raise InvalidEntry(f"{Kind(kind).label} {shown} {error}.") from None


def add(entries: Iterable[Entry], said: Said, *, erased_too: bool = False) -> int:
    """Put people on the list; return how many are on it now who were not. What is said replaces what was.

    Who was erased is left out: their tombstone keeps them from every cohort, and the list would name them
    again; not so for an erasure, which forgets that afterwards. In transactions of PAGE people. Raises
    InvalidEntry when it would end before it begins, and tombstones.Unreadable.
    """
    since = said.since or timezone.now()
    if said.until is not None and said.until <= since:
        raise InvalidEntry("It would end before it begins.")
    new = 0
    for page in _pages(entries if erased_too else _not_erased(entries, Tombstones())):
        with transaction.atomic():
            number = _next_number()
            before = _known(page)
            active = since <= timezone.now() and (said.until is None or said.until > timezone.now())
            new += len(page) - before.filter(lifted_at=None).count()
            Suppression.objects.bulk_create(
                [
                    Suppression(
                        kind=entry.kind,
                        value=entry.value,
                        hint=entry.hint,
                        reason=said.reason,
                        source=said.source,
                        since=since,
                        until=said.until,
                        active=active,
                        changed=number,
                        at_once=said.at_once,
                    )
                    for entry in page
                ],
                update_conflicts=True,
                unique_fields=["kind", "value"],
                update_fields=[
                    *("hint", "reason", "source", "since", "until"),
                    *("lifted_at", "active", "changed", "at_once"),
                ],
            )
    return new


def lift(entries: Iterable[Entry], *, at_once: bool = False) -> int:
    """Take people off the list; return how many were on it. Their rows stay and say so."""
    lifted = 0
    for page in _pages(entries):
        with transaction.atomic():
            number = _next_number()
            lifted += _known(page).filter(lifted_at=None).update(
                active=False, lifted_at=timezone.now(), changed=number, at_once=at_once
            )  # fmt: skip
    return lifted


def note_times() -> int:
    """Note whose time has begun or ended since it was last noted; return how many."""
    with transaction.atomic():
        number = _next_number()
        due = list(Suppression.objects.due().values_list("pk", "active")[:PAGE])
        for was in (True, False):
            keys = [pk for pk, active in due if active == was]
            Suppression.objects.filter(pk__in=keys).update(active=not was, changed=number)
    return len(due)


def number() -> int:
    """Return the number of the list's last change; 0 when nobody was ever on it."""
    found = _number()
    if found and Suppression.objects.due().exists():
        while note_times() == PAGE:
            pass
        found = _number()
    return found


def state_of(row: Suppression) -> str:
    """Return how it stands with a person, in a word or two."""
    if row.lifted_at:
        return "Taken off"
    if row.active:
        return "Suppressed"
    return "From a later time" if row.since > timezone.now() else "Over"


def among(user_ids: Sequence[str]) -> set[str]:
    """Return those of the users who are on the list, by id or because their id is an identifier on it."""
    if not user_ids:
        return set()
    found = set(_active([Kind.USER_ID], user_ids))
    if by_digest := looked_up(user_ids):
        for digest in _active([Kind.EMAIL, Kind.PHONE], list(by_digest)):
            found.update(by_digest[digest])
    return found


def changed_since(known: int) -> Iterator[Sequence[str]]:
    """Yield, in pages, the user ids of people who were put on the list or taken off it since a number."""
    changed = Suppression.objects.filter(changed__gt=known, kind=Kind.USER_ID)
    after = ""
    while page := list(
        changed.filter(value__gt=after).order_by("value").values_list("value", flat=True)[:PAGE]
    ):
        yield page
        after = page[-1]


def identifiers_changed_since(known: int) -> bool:
    """Say whether somebody was put on the list or taken off it by an identifier since a number."""
    return Suppression.objects.filter(changed__gt=known).exclude(kind=Kind.USER_ID).exists()


def _known(page: Sequence[Entry]) -> models.QuerySet[Suppression]:
    kinds = {entry.kind for entry in page}
    of_kinds = Q()
    for kind in kinds:
        of_kinds |= Q(kind=kind, value__in=[entry.value for entry in page if entry.kind == kind])
    # The first two are what PostgreSQL looks up; it would read the whole list for one kind or the other.
    return Suppression.objects.filter(of_kinds, kind__in=kinds, value__in=[entry.value for entry in page])


def _not_erased(entries: Iterable[Entry], tombstones: Tombstones) -> Iterator[Entry]:
    return (one for one in entries if one.kind != Kind.USER_ID or not tombstones.among([one.value]))


def _pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    distinct: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        distinct[entry.kind, entry.value] = entry
        if len(distinct) == PAGE:
            yield list(distinct.values())
            distinct = {}
    if distinct:
        yield list(distinct.values())


def _next_number() -> int:
    """Raise the list's number, in the open transaction: until it commits, no other change gets one."""
    if not SuppressionClock.objects.filter(pk=1).update(number=F("number") + 1):
        SuppressionClock.objects.get_or_create(pk=1)
        SuppressionClock.objects.filter(pk=1).update(number=F("number") + 1)
    return _number()


def _number() -> int:
    return SuppressionClock.objects.values_list("number", flat=True).filter(pk=1).first() or 0


def _active(kinds: Sequence[str], values: Sequence[str]) -> list[str]:
    table, among = Suppression._meta.db_table, ", ".join(["%s"] * len(kinds))
    are_these, given = is_one_of(connection, table, f"active AND kind IN ({among})", value=values)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT value FROM {table} WHERE {are_these}",
            [*given, *kinds],
        )
        return [value for (value,) in cursor.fetchall()]
