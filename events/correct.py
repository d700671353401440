"""Taking out events and users' properties that should not be there, wherever merges have put them.

Files are never changed: a file that holds such rows is replaced by one without them, and what was done is
kept as a Correction with who and when. Of a person who is erased, the replaced files are removed as soon as
no query can be reading them; otherwise they stay as long as those of a merge do.
"""

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from events import convert
from events.compact import compact, file_name, limits
from events.convert import Connection, Written, listed, quoted
from events.custody import check_file, read_description
from events.devices import USERS
from events.engine import EngineError, connect
from events.event_tables import Chosen
from events.inserting import inserted
from events.locks import remove_abandoned
from events.merges import devices_of
from events.models import Correction, EventFile, FileKind, FileState, ImportedFile, sentence_of
from events.naming import read_names
from events.publish import Prepared, Publication, publish, working
from events.recount import counted
from events.store import find_unknown, read_layout
from events.times import micros
from events.workspace_folders import Folders

NOTHING = "No event or property is of this kind: nothing was changed."


class NothingToCorrect(EngineError):
    """There is no such import, event or person. The message says so."""

    code = "nothing_to_correct"


@dataclass(frozen=True)
class Rows:
    """Which rows: SQL conditions over the columns of events and of traits; None: none of them.

    `setup` makes the tables that they name. `marked`: they are about the origin of rows, which files without
    imports do not have.
    """

    events: str | None
    traits: str | None
    setup: Callable[[Connection], object] = lambda connection: None
    marked: bool = False

    @staticmethod
    def any_of(parts: Sequence["Rows"]) -> "Rows | None":
        """Return the rows of any of the parts; None when there is no part."""
        if not parts:
            return None

        def setup(connection: Connection) -> None:
            for part in parts:
                part.setup(connection)

        events = " OR ".join(f"({part.events})" for part in parts if part.events)
        traits = " OR ".join(f"({part.traits})" for part in parts if part.traits)
        return Rows(events or None, traits or None, setup, all(part.marked for part in parts))


@dataclass
class TakenOut:
    """What a correction takes out, before it is published: files in the temp folder for listed ones."""

    new: list[Prepared] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    events: int = 0
    traits: int = 0
    names: set[str] = field(default_factory=set)
    # The imports that brought rows which are taken out, where these say so.
    origins: set[str] = field(default_factory=set)

    def files(self, workspace: str, folders: Folders, kind: FileKind) -> list[str]:
        """The paths of what is listed when the correction is done."""
        kept = EventFile.objects.live(workspace, kind).exclude(name__in=self.retired)
        new = [one for one in self.new if one.kind == kind]
        return [
            *(str(folders.files / file.name) for file in kept),
            *(str(folders.temp / one.name) for one in new),
        ]


@dataclass(frozen=True)
class Corrected:
    what: str
    events: int
    traits: int

    @property
    def sentence(self) -> str:
        return sentence_of(self.what, self.events, self.traits)


def person(by: str = "") -> str:
    """Who does something at a terminal."""
    return by or f"{getpass.getuser()} (command)"


# --- What people ask for ----------------------------------------------------------------------


def undo_import(workspace: str, key: str, by: str) -> Corrected:
    """Take out the events and users' properties that an import brought. Raises NothingToCorrect, Refused."""
    imported = standing_import(workspace, key)
    what = f"undone: the import of {imported.name} of {imported.imported_at:%Y-%m-%d %H:%M} UTC"
    if settings.EVENTS_INSERT:
        events, traits = inserted().undo(workspace, key, events_alone=imported.imported_at < settled_before())
        if events or traits or not has_folder(workspace):
            return kept(workspace, what, events, traits, by, undone=[key])
    return correct(workspace, of_imports([key]), what, by, undone=[key])


def delete_people(workspace: str, user_ids: Sequence[str], by: str) -> Corrected:
    """Erase all events and properties of some users, and of their devices, from files and from our tables at
    EVENTS_URL; they are not named in what is kept of it."""
    return everywhere(
        workspace,
        lambda: delete_people_inserted(workspace, user_ids, by),
        lambda: delete_people_in_files(workspace, user_ids, by),
    )


def delete_people_in_files(workspace: str, user_ids: Sequence[str], by: str) -> Corrected:
    people = ", ".join(map(quoted, user_ids))
    condition = f"user_id IN ({', '.join(map(quoted, [*user_ids, *devices_of(workspace, user_ids)]))})"
    traits = f"{condition} OR (user_id < '{USERS}' AND s IN ({people}))"
    return correct(workspace, Rows(condition, traits), erased(user_ids), by, forget=True)


def delete_people_inserted(workspace: str, user_ids: Sequence[str], by: str) -> Corrected:
    """Raises NothingToCorrect, NotInserted, Refused."""
    events, traits = inserted().erase(workspace, user_ids)
    return kept(workspace, erased(user_ids), events, traits, by)


def erased(user_ids: Sequence[str]) -> str:
    return f"erased: {len(user_ids):,} {'person' if len(user_ids) == 1 else 'people'}"


@dataclass(frozen=True)
class Wanted:
    """Events of which everything named holds, a person's with those of their devices; `until` is not in it.

    Raises ValueError when nothing is named.
    """

    event: str | None = None
    user_id: str | None = None
    insert_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    import_key: str | None = None

    def __post_init__(self) -> None:
        if not any(value is not None for value in vars(self).values()):
            raise ValueError("Name an event, a person, an insert id, a time or an import: not everything.")

    def names(self, workspace: str) -> Sequence[str] | None:
        """The names under which the event is kept: what it is called now stands for all that were renamed to
        it, and a name of before for what came with it alone."""
        if self.event is None:
            return None
        names = read_names(workspace).events
        return names.stored(self.event) if names.current(self.event) == self.event else [self.event]

    def condition(self, workspace: str) -> str:
        """SQL over the columns of events. What waits in the spool is published first if a person is named."""
        equal = {"insert_id": self.insert_id, "origin": self.import_key}
        parts = [f"event IN ({', '.join(map(quoted, names))})"] if (names := self.names(workspace)) else []
        parts += [f"{column} = {quoted(value)}" for column, value in equal.items() if value is not None]
        if self.user_id is not None:
            ids = [self.user_id, *devices_of(workspace, [self.user_id])]
            parts.append(f"user_id IN ({', '.join(map(quoted, ids))})")
        parts += [f"time {sign} {timestamp(moment)}" for sign, moment in self.bounds()]
        return " AND ".join(parts)

    def chosen(self, workspace: str) -> Chosen:
        """The same for our tables at EVENTS_URL."""
        origins = [self.import_key] if self.import_key is not None else None
        return Chosen(self.names(workspace), self.user_id, self.insert_id, self.since, self.until, origins)

    def bounds(self) -> list[tuple[str, datetime]]:
        named = [(">=", self.since), ("<", self.until)]
        return [(sign, moment) for sign, moment in named if moment is not None]

    def sentence(self) -> str:
        """What is deleted, in words that name no person."""
        person = "one person's" if self.user_id else None
        named = [str(said) for said in (self.event, person, self.insert_id, self.import_key) if said]
        named += [f"{sign} {moment:%Y-%m-%d %H:%M}" for sign, moment in self.bounds()]
        return f"deleted events: {', '.join(named)}"


def delete_events(workspace: str, by: str, wanted: Wanted) -> Corrected:
    """Raises NothingToCorrect, Refused; EngineError, OSError."""
    what = wanted.sentence()

    def in_tables() -> Corrected:
        events = inserted().delete_events(workspace, wanted.chosen(workspace))
        return kept(workspace, what, events, 0, by)

    def in_files() -> Corrected:
        rows = Rows(wanted.condition(workspace), None, marked=wanted.import_key is not None)
        return correct(workspace, rows, what, by)

    return everywhere(workspace, in_tables, in_files)


def count_events(workspace: str, wanted: Wanted) -> tuple[int, int]:
    """Return how many events a deletion would take out, and of how many users and devices they are."""
    if not settings.EVENTS_INSERT:
        return count_in_files(workspace, wanted)
    counts = [inserted().count_events(workspace, wanted.chosen(workspace))]
    counts += [count_in_files(workspace, wanted)] if has_folder(workspace) else []
    return sum(events for events, _ in counts), sum(users for _, users in counts)


def count_in_files(workspace: str, wanted: Wanted) -> tuple[int, int]:
    compact(workspace)
    condition, layout = wanted.condition(workspace), read_layout(workspace)
    with connect(limits(), Folders(workspace).temp) as connection:
        rows = f"read_parquet({listed(layout.events)}, union_by_name = true)"
        if not layout.events or (wanted.import_key and "origin" not in columns_of(connection, rows)):
            return 0, 0
        counts = f"SELECT count(*), count(DISTINCT user_id) FROM {rows} WHERE {condition}"
        [(events, users)] = connection.execute(counts).fetchall()
    return int(events), int(users)


def correct(
    workspace: str,
    rows: Rows,
    what: str,
    by: str,
    *,
    undone: Sequence[str] = (),
    forget: bool = False,
) -> Corrected:
    """Take rows out, and keep who did it. What waits in the spool is published first: it may hold some."""
    compact(workspace)
    with working(workspace) as folders:
        taken = take_out(workspace, folders, rows, undone)
        if not taken.events and not taken.traits and not undone:
            raise NothingToCorrect(NOTHING)
        publish(workspace, folders, publication_of(workspace, folders, taken, what, by, undone))
        if forget:
            remove_soon(workspace, folders, rows)
            # What a stopped import left to go on with may hold anybody's lines.
            remove_abandoned(folders.staging, 1.0)
    return Corrected(what, taken.events, taken.traits)


def everywhere(
    workspace: str, in_tables: Callable[[], Corrected], in_files: Callable[[], Corrected]
) -> Corrected:
    """Delete in files; with EVENTS_INSERT in our tables, and in files of before. Raises NothingToCorrect."""
    if not settings.EVENTS_INSERT:
        return in_files()
    done = []
    for delete in [in_tables, *([in_files] if has_folder(workspace) else [])]:
        with suppress(NothingToCorrect):
            done.append(delete())
    if not done:
        raise NothingToCorrect(NOTHING)
    return Corrected(done[0].what, sum(one.events for one in done), sum(one.traits for one in done))


def has_folder(workspace: str) -> bool:
    return Folders(workspace).root.is_dir()


@transaction.atomic
def kept(
    workspace: str, what: str, events: int, traits: int, by: str, undone: Sequence[str] = ()
) -> Corrected:
    """Keep who deleted what from our tables, and which imports are undone by it. Raises NothingToCorrect."""
    if not events and not traits and not undone:
        raise NothingToCorrect(NOTHING)
    ImportedFile.objects.standing(workspace).filter(key__in=undone).update(undone_at=timezone.now())
    Correction.objects.create(
        workspace=workspace,
        key=uuid.uuid4().hex,
        what=what[:1000],
        events=events,
        traits=traits,
        by=by[:150],
    )
    return Corrected(what, events, traits)


def settle() -> None:
    """Delete from our tables at EVENTS_URL what was said of users and devices and is said by others, too, but
    of imports that can be undone with all they said. Raises NotInserted, Refused."""
    for workspace in inserted().workspaces():
        said = inserted().sayings(workspace)
        settled = ImportedFile.objects.filter(
            workspace=workspace, key__in=said, imported_at__lt=settled_before()
        )
        # An import that goes on has no row yet.
        recent = said - {"", *settled.values_list("key", flat=True)}
        inserted().settle(workspace, sorted(recent), timezone.now().date())


def settled_before() -> datetime:
    """Of imports before this time properties are settled: undoing one leaves them as they are."""
    return timezone.now() - timedelta(days=settings.EVENTS_KEEP_DAYS)


# --- How it is done ---------------------------------------------------------------------------


def of_imports(keys: Sequence[str], days: Sequence[str] = ()) -> Rows:
    """The rows of some imports; with `days` (ISO, UTC), only the events of these days."""
    condition = f"origin IN ({', '.join(map(quoted, keys))})"
    if days:
        return Rows(f"{condition} AND time::DATE IN ({', '.join(map(quoted, days))})", None, marked=True)
    return Rows(condition, condition, marked=True)


def standing_import(workspace: str, key: str) -> ImportedFile:
    found = ImportedFile.objects.standing(workspace).filter(key=key).first()
    if found is None:
        raise NothingToCorrect(f"There is no import {key!r} that could be undone: see list_imports.")
    return found


def find_import(workspace: str, key: str) -> str:
    """Return the key of the import that begins so. Raises NothingToCorrect."""
    found = ImportedFile.objects.standing(workspace).filter(key__startswith=key).values_list("key", flat=True)
    if len(key) < 6 or len(found) != 1:
        raise NothingToCorrect(
            f"{key!r} begins {len(found) or 'no'} imports' keys; it must begin one, with 6."
        )
    return str(found[0])


def take_out(workspace: str, folders: Folders, rows: Rows, undone: Sequence[str] = ()) -> TakenOut:
    """Write the files that take the place of those that hold the rows. Raises EngineError when one of the
    workspace's files is set aside, or not known to this database: it may hold some."""
    # After a restore, a file that is listed again may have been replaced by one that is not known: were it
    # rewritten, what was taken out of it since would come back.
    find_unknown(folders, workspace)
    taken = TakenOut()
    with connect(limits(), folders.temp) as connection:
        rows.setup(connection)
        for kind, condition in ((FileKind.EVENTS, rows.events), (FileKind.TRAITS, rows.traits)):
            for file in EventFile.objects.live(workspace, kind) if condition else ():
                if check_file(folders, file, again=True):
                    continue  # set aside: nothing is corrected, see below
                rewrite(connection, folders, file, str(condition), rows.marked, undone, taken)
    if EventFile.objects.troubled(workspace).exists():
        raise EngineError(
            "A file of events is set aside, and may hold some of these: put it right first (check_events)."
        )
    return taken


def rewrite(
    connection: Connection,
    folders: Folders,
    file: EventFile,
    condition: str,
    marked: bool,
    undone: Sequence[str],
    taken: TakenOut,
) -> None:
    """Write a file without its rows of a condition, if it has any."""
    rows = f"read_parquet({quoted(str(folders.files / file.name))})"
    kept = "*"
    if "origin" not in columns_of(connection, rows):
        if marked:
            return
        kept = "* EXCLUDE (origin)"
        rows = f"(SELECT *, NULL::VARCHAR AS origin FROM {rows})"
    name = "event" if file.kind == FileKind.EVENTS else "''"
    counts = f"SELECT {name}, count(*) FROM {rows} WHERE {condition} GROUP BY ALL"
    found = connection.execute(counts).fetchall()
    if not found:
        return
    kind, count = FileKind(file.kind), sum(row[1] for row in found)
    new = file_name(uuid.uuid4().hex, kind)
    others = f"SELECT {kept} FROM {rows} WHERE ({condition}) IS NOT TRUE"
    written = Written(convert.copy(connection, others, folders.temp / new), tuple(file.columns))
    taken.names |= {str(row[0]) for row in found}
    if marked:
        brought = connection.execute(f"SELECT DISTINCT origin FROM {rows} WHERE {condition}")
        taken.origins |= {str(row[0]) for row in brought.fetchall()}
    taken.events += count if kind == FileKind.EVENTS else 0
    taken.traits += count if kind == FileKind.TRAITS else 0
    taken.retired.append(file.name)
    description = read_description(folders, file.name)
    imports = [one for one in description.imports if one["key"] not in undone] if description else []
    taken.new.append(Prepared(kind, new, written, merged_from=[file.name], corrected=True, imports=imports))


def columns_of(connection: Connection, rows: str) -> set[str]:
    return {str(row[0]) for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()}


def forget_imports(workspace: str, folders: Folders, taken: TakenOut) -> list[str]:
    """Return the keys of the imports that brought what is taken out and of which nothing is left; the new
    files name them no more."""
    paths = [path for kind in FileKind for path in taken.files(workspace, folders, kind)]
    left: set[str] = set()
    if taken.origins and paths:
        with connect(limits(), folders.temp) as connection:
            rows = f"read_parquet({listed(paths)}, union_by_name = true)"
            if "origin" in columns_of(connection, rows):
                keys = ", ".join(map(quoted, sorted(taken.origins)))
                found = connection.execute(f"SELECT DISTINCT origin FROM {rows} WHERE origin IN ({keys})")
                left = {str(row[0]) for row in found.fetchall()}
    gone = sorted(taken.origins - left)
    taken.new = [
        replace(one, imports=[entry for entry in one.imports if entry["key"] not in gone])
        for one in taken.new
    ]
    return gone


def publication_of(
    workspace: str,
    folders: Folders,
    taken: TakenOut,
    what: str,
    by: str,
    undone: Sequence[str] = (),
    *,
    added: Sequence[Prepared] = (),
    imported: Mapping[str, Any] | None = None,
) -> Publication:
    """Return what is to be published: corrected files, those that are `added`, who did it, and counts."""
    all_new = TakenOut([*taken.new, *added], taken.retired)
    names = sorted(taken.names | {c.event for one in added for c in one.counts})
    events, traits = (all_new.files(workspace, folders, kind) for kind in (FileKind.EVENTS, FileKind.TRAITS))
    recounted = counted(workspace, folders, events, traits, names)
    correction = {
        "key": uuid.uuid4().hex,
        "what": what[:1000],
        "events": taken.events,
        "traits": taken.traits,
        "by": by[:150],
        "at": timezone.now().isoformat(),
    }
    return Publication(all_new.new, taken.retired, imported, undone, correction, recounted)


def remove_soon(workspace: str, folders: Folders, rows: Rows) -> None:
    """Let the replaced files that hold rows be removed as soon as no query can be reading them."""
    replaced = EventFile.objects.filter(workspace=workspace, state=FileState.RETIRED)
    with connect(limits(), folders.temp) as connection:
        for file in replaced:
            path = folders.files / file.name
            condition = rows.events if file.kind == FileKind.EVENTS else rows.traits
            if not condition or not path.exists():
                continue
            if may_hold(connection, path, condition):
                EventFile.objects.filter(pk=file.pk).forget()


def is_in_replaced_files(workspace: str, user_id: str) -> bool:
    """Say whether a file that was replaced and not removed yet holds something of the user."""
    condition, folders = f"user_id = {quoted(user_id)}", Folders(workspace)
    named = f"{condition} OR (user_id < '{USERS}' AND s = {quoted(user_id)})"
    replaced = EventFile.objects.filter(workspace=workspace, state=FileState.RETIRED)
    with connect(limits(), folders.temp) as connection:
        # The files that say whose devices are go as late as those with what was done on them.
        held = [
            (folders.files / file.name, condition if file.kind == FileKind.EVENTS else named)
            for file in replaced
        ]
        return any(path.exists() and may_hold(connection, path, rows) for path, rows in held)


def may_hold(connection: Connection, path: Path, condition: str) -> bool:
    """Say whether a file holds such rows. What is damaged and was given up may hold anybody's: lines that
    came in (salvage.py), and files that cannot be read."""
    if path.suffix == ".jsonl":
        return True
    try:
        return holds(connection, str(path), condition)
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error:
        return True


def holds(connection: Connection, path: str, condition: str) -> bool:
    found = connection.execute(f"SELECT 1 FROM read_parquet({quoted(path)}) WHERE {condition} LIMIT 1")
    return bool(found.fetchall())


def timestamp(moment: datetime) -> str:
    return f"make_timestamp({micros(moment)})"
