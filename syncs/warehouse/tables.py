"""What is exported: the tables, their columns, and their rows in an order that never goes back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import Q
from django.utils import timezone

from cohorts import members
from cohorts.choices import VersionState
from cohorts.models import Cohort
from syncs.choices import OPEN_RUNS
from syncs.models import Batch, Rejection, Run

# A run that ended this lately waits for the next export: one that ended before it may not be committed yet.
# A transaction is ended by the database after a minute without a sign.
LAG = timedelta(minutes=5)
RUNS_A_CHUNK = 1_000
ROWS_A_PAGE = 5_000

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """kind: text, bigint, boolean or timestamp."""

    name: str
    kind: str
    about: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are written together, and how far their scope has been written then."""

    scope: str
    position: str
    pages: Iterable[Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Table:
    """key: columns that name a row; one that comes again replaces it.

    `chunks` is given how far each scope was written. None: all rows are written anew, those of `snapshot`.
    """

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    chunks: Callable[[dict[str, str]], Iterator[Chunk]] | None = None
    snapshot: Callable[[], Iterator[Sequence[Row]]] | None = None


def _runs(positions: dict[str, str]) -> Iterator[Chunk]:
    for runs in _ended(positions.get("", "")):
        yield Chunk("", _position(runs[-1]), [[_run(run) for run in runs]])


def _batches(positions: dict[str, str]) -> Iterator[Chunk]:
    for runs in _ended(positions.get("", "")):
        yield Chunk("", _position(runs[-1]), _batches_of([run.pk for run in runs]))


def _ended(after: str) -> Iterator[list[Run]]:
    """Yield runs that have ended, in the order in which they did, as many as make a chunk.

    A run that is taken up again comes once more when it ends again.
    """
    ended = Run.objects.exclude(state__in=OPEN_RUNS).filter(finished_at__lt=timezone.now() - LAG)
    ended = ended.select_related("sync__cohort", "sync__destination").order_by("finished_at", "pk")
    while True:
        page = ended
        if after:
            at, _, key = after.rpartition("-")
            moment = datetime.strptime(at, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
            page = ended.filter(Q(finished_at__gt=moment) | Q(finished_at=moment, pk__gt=int(key)))
        runs = list(page[:RUNS_A_CHUNK])
        if not runs:
            return
        yield runs
        after = _position(runs[-1])


def _position(run: Run) -> str:
    assert run.finished_at
    return f"{run.finished_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{run.pk:015d}"


def _run(run: Run) -> Row:
    sync = run.sync
    return (
        *(run.pk, sync.cohort.key, sync.destination.name, sync.external_name, run.mode, run.trigger),
        *(run.state, run.reason, run.from_version, run.to_version, sync.projection_id is not None),
        *(run.created_at, run.started_at),
        *(run.finished_at, run.planned_adds, run.planned_removes, run.added, run.removed),
        *(run.rejected, run.undelivered, run.requests, run.retries),
    )


def _batches_of(runs: list[int]) -> Iterator[Sequence[Row]]:
    names = (
        *("run_id", "number", "step", "state", "size", "delivered", "requests", "status", "latency_ms"),
        *("unknown_outcome", "created_at", "settled_at"),
    )
    for run in runs:
        after = 0
        while True:
            found = Batch.objects.filter(run=run, number__gt=after).order_by("number").values_list(*names)
            page = list(found[:ROWS_A_PAGE])
            if not page:
                break
            yield page
            after = page[-1][1]


def _versions(positions: dict[str, str]) -> Iterator[Chunk]:
    for cohort in Cohort.objects.order_by("pk"):
        after = _number(positions.get(str(cohort.pk), ""))
        found = _published(cohort).filter(number__gt=after)
        rows = [
            (cohort.key, v.number, v.source, v.started_at, v.finished_at, v.size, v.entered, v.left)
            for v in found
        ]
        if rows:
            yield Chunk(str(cohort.pk), f"{rows[-1][1]:09d}", [rows])


def _moves(positions: dict[str, str]) -> Iterator[Chunk]:
    """One chunk a version. Where pruning took some, it begins anew, with all members of the oldest left."""
    for cohort in Cohort.objects.order_by("pk"):
        after, scope = _number(positions.get(str(cohort.pk), "")), str(cohort.pk)
        found = list(_published(cohort).filter(number__gte=max(after, cohort.readable_from)))
        if not found:
            continue
        first = found[0]
        if after == 0 == cohort.readable_from:
            yield Chunk(scope, f"{first.number:09d}", _moved(cohort, 0, first))
        elif first.number != after:
            yield Chunk(scope, f"{first.number:09d}", _present(cohort, first.number, first.finished_at))
        for before, version in pairwise(found):
            yield Chunk(scope, f"{version.number:09d}", _moved(cohort, before.number, version))


def _published(cohort: Cohort) -> Any:
    """Return the versions that were the cohort's, oldest first."""
    versions = cohort.versions.filter(state=VersionState.PUBLISHED, number__lte=cohort.version)
    return versions.order_by("number")


def _present(cohort: Cohort, number: int, at: Any) -> Iterator[Sequence[Row]]:
    for page in members.pages_of_version(cohort.pk, number):
        yield [(cohort.key, number, user_id, "present", at) for user_id in page]
    # Pruning notes how far it goes before it drops anybody: what is readable still was read whole.
    members.readable(cohort.pk, number)


def _moved(cohort: Cohort, before: int, version: Any) -> Iterator[Sequence[Row]]:
    after, number, at = "", version.number, version.finished_at
    while moves := members.moves_page(cohort.pk, before, number, after, members.PAGE):
        after = moves[-1].user_id
        yield [
            (cohort.key, number, move.user_id, "entered" if move.now else "left", at)
            for move in moves
            if move.was != move.now
        ]
    members.readable(cohort.pk, before)


def _number(position: str) -> int:
    return int(position or 0)


def _rejected() -> Iterator[Sequence[Row]]:
    now, after = timezone.now(), 0
    found = Rejection.objects.select_related("sync__cohort", "sync__destination").order_by("pk")
    while page := list(found.filter(pk__gt=after)[:ROWS_A_PAGE]):
        after = page[-1].pk
        yield [
            (
                *(row.sync.cohort.key, row.sync.destination.name, row.user_id, row.kind, row.state),
                *(row.wanted, row.code, row.message, row.tries, row.first_at, row.last_at, now),
            )
            for row in page
        ]


def _columns(*columns: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*column) for column in columns)


TABLES = (
    Table(
        "runs",
        "Each run of a sync that has ended.",
        ("run_id",),
        _columns(
            ("run_id", "bigint", "The run's number."),
            ("cohort", "text", "The cohort's key."),
            ("destination", "text", "The destination's name."),
            ("external_name", "text", "What the cohort is called at the partner."),
            ("mode", "text", "changes, full, empty or repair."),
            ("trigger", "text", "What began it: a schedule, a person, a command …"),
            ("state", "text", "How it ended: succeeded, partial, failed or cancelled."),
            ("reason", "text", "Why, in words; empty when it succeeded."),
            ("from_version", "bigint", "The version that the partner held before; 0: nobody."),
            ("to_version", "bigint", "The version that it was to hold after."),
            ("by_profiles", "boolean", "These versions are of what is sent by profiles, not of the cohort."),
            ("created_at", "timestamp", "When it was asked for."),
            ("started_at", "timestamp", "When it began to send; empty if it never did."),
            ("finished_at", "timestamp", "When it ended."),
            ("planned_adds", "bigint", "Users to be added."),
            ("planned_removes", "bigint", "Users to be removed."),
            ("added", "bigint", "Users whom the partner took."),
            ("removed", "bigint", "Users whom the partner let go."),
            ("rejected", "bigint", "Users whom the partner refused."),
            ("undelivered", "bigint", "Users for whom no request went through."),
            ("requests", "bigint", "Requests that were made."),
            ("retries", "bigint", "Requests that were made again."),
        ),
        _runs,
    ),
    Table(
        "batches",
        "Each batch of those runs: one request's worth of users.",
        ("run_id", "number"),
        _columns(
            ("run_id", "bigint", "The run."),
            ("number", "bigint", "Which of its batches, from 1."),
            ("step", "text", "create, add, remove, or change: adds and removes in one."),
            ("state", "text", "delivered, narrowed (in parts), rejected or undelivered."),
            ("size", "bigint", "Its users."),
            ("delivered", "bigint", "Those whom the partner took or let go."),
            ("requests", "bigint", "Requests that it took."),
            ("status", "bigint", "The last reply's HTTP status; empty: there was none."),
            ("latency_ms", "bigint", "Milliseconds to that reply."),
            ("unknown_outcome", "boolean", "A request got no reply: the partner may have acted on it."),
            ("created_at", "timestamp", "When it was written down, before it was sent."),
            ("settled_at", "timestamp", "When its outcome was known."),
        ),
        _batches,
    ),
    Table(
        "cohort_versions",
        "Each published version of a cohort.",
        ("cohort", "version"),
        _columns(
            ("cohort", "text", "The cohort's key."),
            ("version", "bigint", "Its number."),
            ("source", "text", "What it was made from, in words."),
            ("started_at", "timestamp", "When its calculation or import began."),
            ("finished_at", "timestamp", "When it was there."),
            ("size", "bigint", "Its members."),
            ("entered", "bigint", "Who entered with it."),
            ("left_count", "bigint", "Who left with it."),
        ),
        _versions,
    ),
    Table(
        "membership_changes",
        "Who entered and left a cohort with each version.",
        ("cohort", "version", "user_id"),
        _columns(
            ("cohort", "text", "The cohort's key."),
            ("version", "bigint", "The version that brought the change."),
            ("user_id", "text", "The user."),
            ("change", "text", "entered or left; present: what came before was pruned, all members follow."),
            ("changed_at", "timestamp", "When that version was there."),
        ),
        _moves,
    ),
    Table(
        "rejected_users",
        "Users whom partners do not have right, as of the export; written anew each time.",
        ("cohort", "destination", "user_id"),
        _columns(
            ("cohort", "text", "The cohort's key."),
            ("destination", "text", "The destination's name."),
            ("user_id", "text", "The user."),
            ("kind", "text", "rejected: the partner refused them; undelivered: no request went through."),
            ("state", "text", "Whether they are tried again."),
            ("wanted", "boolean", "Whether they were to be added (else removed)."),
            ("code", "text", "The partner's reason, as a code."),
            ("message", "text", "The partner's reason, in words."),
            ("tries", "bigint", "How often it was tried."),
            ("first_at", "timestamp", "Since when."),
            ("last_at", "timestamp", "The last try."),
            ("exported_at", "timestamp", "As of when this is so."),
        ),
        snapshot=_rejected,
    ),
)
