"""Import files of events or of users' properties: a file whole or not at all, each content once."""

import hashlib
import itertools
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import orjson
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from events import compact, convert, formats, inserting
from events import publish as publication
from events.amplitude import properties_of
from events.bulk import Fields
from events.correct import (
    NothingToCorrect,
    Rows,
    TakenOut,
    correct,
    forget_imports,
    has_folder,
    kept,
    of_imports,
    publication_of,
    standing_import,
    take_out,
)
from events.event_tables import Chosen, staged_name
from events.formats import Bad, Progress, Record, UnreadableFile
from events.identities import DEVICES, device_in, flat, said_by
from events.locks import kept_folder
from events.models import FileKind, ImportedFile
from events.publish import Publication, working
from events.records import InvalidRecord, event_line, micros_of, owner_line, traits_line
from events.site import check_site
from events.staging import FORMAT, Reader, stage
from events.tables.headings import OF_EVENTS, is_known
from events.times import from_micros
from events.workspace_folders import Folders, check_taken

# What a field may be called, in order of preference. Amplitude, Segment, Mixpanel and common tables.
GUESSES = {
    "user_id": ("user_id", "userId", "distinct_id", "customer_id"),
    "event": ("event", "event_type", "event_name"),
    "time": ("time", "timestamp", "event_time", "originalTimestamp"),
    "insert_id": ("insert_id", "$insert_id", "messageId", "uuid"),
    "properties": ("properties", "event_properties"),
    "traits": ("traits", "user_properties"),
}
OBJECTS = ("properties", "traits")
# Calls of Segment's that name no event.
PAGE_CALLS = ("page", "screen", "group")
SHOWN_PROBLEMS = 20
# Lines are inserted at EVENTS_URL so many bytes at a time.
INSERTED_BYTES = 8 * 1024 * 1024
# So many devices of a file are known at once; what is said twice is only longer to read.
MOST_OWNERS = 200_000


@dataclass(frozen=True)
class Mapped:
    """How a file's columns become fields: `columns` names them, `constants` gives a field one value."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    traits: bool = False

    def column(self, name: str, record: Mapping[str, Any]) -> str | None:
        if name in self.columns:
            return self.columns[name]
        present = [guess for guess in GUESSES[name] if guess in record]
        if name == "user_id" and not present:
            return next((column for column in record if is_known(column, OF_EVENTS)), None)
        # Amplitude's export names an insert id of null in each row, and a uuid that is one.
        return next(
            (guess for guess in present if record[guess] not in (None, "")), present[0] if present else None
        )

    def digest(self) -> bytes:
        return orjson.dumps([self.columns, self.constants, self.traits], option=orjson.OPT_SORT_KEYS)


@dataclass
class Imported:
    """What became of a file. `problems` holds the first bad lines; `known`: it was imported before.

    anonymous: lines that name a device and no user. Their events count for whoever the device turns out to
    be of; what they say of a user's properties is left out.
    """

    file: str
    rows: int = 0
    users: int = 0
    repeats: int = 0
    bad_lines: int = 0
    anonymous: int = 0
    problems: list[str] = field(default_factory=list)
    known: bool = False
    key: str = ""
    replaced: int = 0

    def bad(self, position: str, reason: str) -> None:
        self.bad_lines += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"{position}: {reason}")


@dataclass(frozen=True)
class Origin:
    """The key that an import's rows bear, and what the import's row says of it."""

    key: str
    digest: str
    source: str
    by: str


@dataclass(frozen=True)
class Replaces:
    """What an import takes the place of: imports by their keys; what its source brought on the days (UTC)
    that the file has events of; events of the same users with the same insert ids."""

    imports: Sequence[str] = ()
    source_days: bool = False
    repeats: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.imports) or self.source_days or self.repeats

    def rows(self, workspace: str, staging: Path, source: str) -> Rows | None:
        """Return the rows that go, or None. Raises NothingToCorrect."""
        staged = convert.staged(staging, "events")
        has_events = bool(staged)
        for key in self.imports:
            standing_import(workspace, key)
        parts = [of_imports(self.imports)] if self.imports else []
        if self.source_days and has_events:
            found = ImportedFile.objects.standing(workspace).filter(source=source, key__isnull=False)
            if keys := [str(key) for key in found.values_list("key", flat=True)]:
                parts.append(of_imports(keys, convert.days_of(staged)))
        if self.repeats and has_events:
            parts.append(
                Rows(convert.REPEATED, None, lambda connection: convert.load_ids(connection, staged))
            )
        return Rows.any_of(parts)

    def chosen(
        self, workspace: str, days: Sequence[str], about: Origin, staged: str
    ) -> tuple[list[Chosen], list[str]]:
        """Return what goes of our tables at EVENTS_URL, and the imports of which nothing may be left."""
        found: list[Chosen] = []
        brought: list[str] = []
        if self.imports:
            found.append(Chosen(origins=self.imports))
        if self.source_days and days:
            of_source = ImportedFile.objects.standing(workspace).filter(
                source=about.source, key__isnull=False
            )
            keys = of_source.exclude(key__in=self.imports).values_list("key", flat=True)
            brought = [str(key) for key in keys]
            found += [Chosen(origins=brought, days=days)] if brought else []
        if self.repeats:
            found.append(Chosen(repeats=(staged, about.key)))
        return found, brought


def import_file(
    workspace: str,
    path: Path,
    mapped: Mapped | None = None,
    *,
    again: bool = False,
    source: str = "",
    by: str = "",
    replaces: Replaces | None = None,
    progress: Progress = lambda done: None,
) -> Imported:
    """Import one file. Raises UnreadableFile, Refused and OSError, with nothing imported.

    A content that was imported before, in the same way, is left alone unless `again`. `source` says where
    the events come from, `by` who imports them, `replaces` what goes when the file's events come.
    """
    check_taken()
    formats.check_plain(path)
    folders, mapped = Folders(workspace), mapped or Mapped()
    digest = digest_of(path, mapped)
    imported = Imported(path.name)
    before = ImportedFile.objects.standing(workspace).filter(digest=digest).first()
    if before and not again:
        imported.known, imported.rows, imported.bad_lines = True, before.rows, before.bad_lines
        return imported
    about = Origin(uuid.uuid4().hex, digest, source[:100], by[:150])
    if settings.EVENTS_INSERT:
        about = replace(about, key=key_of(workspace, digest))
        insert_file(workspace, path, mapped, imported, about, replaces or Replaces(), progress)
        imported.key = about.key
        return imported
    check_site()
    folders.make()
    followed = Followed(path.stat().st_size, progress)
    with kept_folder(folders.staging, f"{digest[:40]}-{FORMAT}") as staging:
        names = stage(path, staging, folders.temp, reader_of(mapped, imported), followed.reading)
        if (imported.bad_lines or imported.anonymous) and not convert.has_rows(staging):
            devices = f"{imported.anonymous:,} lines say something of devices without a user."
            why = imported.problems[0] if imported.problems else devices
            raise UnreadableFile(f"{path.name}: no line can be used. {why}")
        if not convert.has_rows(staging):
            check_heading(path, mapped)
        with working(workspace):
            publish(workspace, folders, staging, names, imported, about, replaces or Replaces(), followed)
    imported.key = about.key
    return imported


def key_of(workspace: str, digest: str) -> str:
    """Return the key of the next import of a content: the same if it is interrupted and done again."""
    before = ImportedFile.objects.filter(workspace=workspace, digest=digest).count()
    return hashlib.sha256(f"{workspace} {digest} {before}".encode()).hexdigest()[:32]


def insert_file(
    workspace: str,
    path: Path,
    mapped: Mapped,
    imported: Imported,
    about: Origin,
    replaces: Replaces,
    progress: Progress,
) -> None:
    """Insert a file's lines at EVENTS_URL, and keep that it was imported. Raises as import_file does.

    What takes the place of other events waits until all of it is there. An import that is interrupted is done
    again, and comes to the same: what it deleted stays deleted, and it is known as undone at the end.
    """
    for key in replaces.imports:
        standing_import(workspace, key)
    tables, undone = inserting.inserted(), list(replaces.imports)
    staged = staged_name(workspace, about.key, timezone.now().date()) if replaces.anything else ""
    if staged:
        tables.delete_events(staged, Chosen())
    try:
        days = insert_lines(workspace, path, mapped, imported, about, staged, progress)
        if staged:
            gone, brought = replaces.chosen(workspace, days, about, staged)
            imported.replaced = tables.swap_in(workspace, staged, gone, undone)
            new, _ = tables.count_events(workspace, Chosen(origins=[about.key]))
            imported.repeats += imported.rows - new
            imported.rows = new
            left = tables.left_of(workspace, brought) if brought else set()
            undone += [key for key in brought if key not in left]
    except UnreadableFile:
        for name in (workspace, *([staged] if staged else [])):
            tables.undo(name, about.key)
        raise
    what = f"replaced by the import of {imported.file}"
    if undone and has_folder(workspace):
        with suppress(NothingToCorrect):
            correct(workspace, of_imports(undone), what, about.by)
    row = row_of(imported, about)
    with transaction.atomic():
        if undone or imported.replaced:
            kept(workspace, what, imported.replaced, 0, about.by, undone)
        ImportedFile.objects.get_or_create(workspace=workspace, key=row.pop("key"), defaults=row)


def insert_lines(
    workspace: str,
    path: Path,
    mapped: Mapped,
    imported: Imported,
    about: Origin,
    staged: str,
    progress: Progress,
) -> list[str]:
    """Insert a file's lines, in batches, and return the days (ISO, UTC) that it has events of. An event
    without an id is named by the file's content and its place there."""
    take = reader_of(mapped, imported).take
    unnamed = (f"{about.digest[:32]} {number}" for number in itertools.count())
    lines = {"events": BytesIO(), "traits": BytesIO()}
    days: set[str] = set()

    def flush() -> None:
        events, traits = (file.getvalue() for file in lines.values())
        if staged:
            days.update(days_in(events))
        new = inserting.insert(workspace, events, traits, unnamed, about.key, staged)
        imported.rows += new
        imported.repeats += events.count(b"\n") - new
        imported.users += traits.count(b"\n")
        for file in lines.values():
            file.seek(0)
            file.truncate()

    for record in formats.read(path, progress):
        take(record, lines["events"], lines["traits"])
        if sum(file.tell() for file in lines.values()) >= INSERTED_BYTES:
            flush()
    flush()
    if not (imported.rows or imported.repeats or imported.users):
        if imported.problems:
            raise UnreadableFile(f"{path.name}: no line can be used. {imported.problems[0]}")
        check_heading(path, mapped)
    return sorted(days)


def days_in(events: bytes) -> set[str]:
    return {str(from_micros(orjson.loads(line)["t"]).date()) for line in events.splitlines()}


def check_heading(path: Path, mapped: Mapped) -> None:
    """Raise UnreadableFile if a file without lines has a first one that is no heading of events."""
    heading = formats.heading_of(path)
    if heading is None:
        return
    cells = dict.fromkeys(heading, "")
    wanted = ["user_id"] if mapped.traits else ["user_id", "event", "time"]
    absent = [n for n in wanted if n not in mapped.constants and mapped.column(n, cells) not in cells]
    if "user_id" in absent and not set(DEVICES) & set(heading):
        raise UnreadableFile(
            f"it has one line, {','.join(heading)[:80]!r}, which is no heading: no column for "
            f"{', '.join(absent)}. If it is one, --map names the columns."
        )


def row_of(imported: Imported, about: Origin) -> dict[str, Any]:
    """Return what is kept of an import."""
    return {
        "key": about.key,
        "digest": about.digest,
        "name": imported.file[:255],
        "source": about.source,
        "rows": imported.rows or imported.users,
        "bad_lines": imported.bad_lines,
        "by": about.by,
        "imported_at": timezone.now().isoformat(),
    }


class Followed:
    """Progress of an import, in bytes of its file: reading is half of it, sorting and writing the other."""

    def __init__(self, size: int, progress: Progress) -> None:
        self.size, self.progress, self.shown = size, progress, 0

    def reading(self, done: int) -> None:
        self.show(done // 2)

    def writing(self, share: float) -> None:
        self.show(self.size // 2 + int(self.size / 2 * share))

    def show(self, done: int) -> None:
        """One query follows another: what is shown never goes back."""
        if done > self.shown:
            self.shown = done
            self.progress(done)


def digest_of(path: Path, mapped: Mapped) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(mapped.digest())
    return digest.hexdigest()


def reader_of(mapped: Mapped, imported: Imported) -> Reader:
    """Return how lines become events and users' properties; the bad ones are counted."""
    now, owners = datetime.now(UTC), Owners()

    def take(record: Record | Bad, events: IO[bytes], traits: IO[bytes]) -> None:
        if isinstance(record, Bad):
            imported.bad(record.position, record.reason)
            return
        record = Record(record.position, flat(record.fields))
        imported.anonymous += is_anonymous(record, mapped)
        try:
            stage_record(record, mapped, now, events, traits, owners)
        except InvalidRecord as error:
            imported.bad(record.position, str(error))

    def owner(device: str, user_id: str, at: int) -> bytes:
        return owners.line(device, user_id, from_micros(at))

    return Reader(take, lambda names: bulk_fields(mapped, names), owner, mapped == Mapped(), imported)


def bulk_fields(mapped: Mapped, names: Sequence[str]) -> Fields | None:
    """Return where lines with these names have their fields, if each has one place and all is usual."""
    guesses = {
        field: [mapped.columns[field]]
        if field in mapped.columns
        else [g for g in GUESSES[field] if g in names]
        for field in GUESSES
    }
    guesses["device"] = [name for name in DEVICES if name in names and name not in guesses["user_id"]]
    unclear = any(len(found) > 1 or not set(found) <= set(names) for found in guesses.values())
    if (
        mapped.traits
        or unclear
        or guesses["traits"]
        or "event_type" in names
        or set(mapped.constants) & set(OBJECTS)
    ):
        return None
    columns = {field: found[0] for field, found in guesses.items() if found}
    if not {"user_id", "event", "time"} <= columns.keys() | mapped.constants.keys():
        return None
    return Fields(columns, mapped.constants)


def is_anonymous(record: Record, mapped: Mapped) -> bool:
    """Say whether a line names a device, but no user."""
    if "user_id" in mapped.constants:
        return False
    column = mapped.column("user_id", record.fields)
    return (column is None or record.fields.get(column) in (None, "")) and device_in(
        record.fields
    ) is not None


class Owners:
    """Whose devices are, in the lines of a file: said once, unless an earlier time is told."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, str], int] = {}

    def line(self, device: object, user_id: object, time: object) -> bytes:
        key, at = (str(device), str(user_id)), micros_of(time)
        if self.said.get(key, at + 1) <= at:
            return b""
        if len(self.said) >= MOST_OWNERS:
            self.said.clear()
        line = owner_line(device, user_id, time)
        self.said[key] = at
        return line


def stage_record(
    record: Record, mapped: Mapped, now: datetime, events: IO[bytes], traits: IO[bytes], owners: Owners
) -> None:
    fields = record.fields
    found = {name: mapped.column(name, fields) for name in GUESSES}
    value: dict[str, Any] = {name: fields.get(column) for name, column in found.items() if column}
    table = {column for field in OBJECTS if (column := objects_from_text(field, value, found))}
    value |= mapped.constants
    if said := said_by(fields):
        traits.write(owners.line(*said, value.get("time") or now))
        return
    device = None if found["user_id"] in DEVICES else device_in(fields)
    named = value.get("user_id") not in (None, "")
    used = {column for column in found.values() if column}
    rest = {name: item for name, item in fields.items() if name not in used}
    if mapped.traits or fields.get("type") == "identify":
        if device is not None and not named:
            return
        if device is not None:
            traits.write(owners.line(device, value["user_id"], value.get("time") or now))
        value["traits"] = value["traits"] if isinstance(value.get("traits"), dict) else rest
        traits.write(traits_line({"time": now, **{k: v for k, v in value.items() if v is not None}}))
        return
    if not isinstance(value.get("properties"), dict):
        value["properties"] = rest
    elif table and "event_type" not in fields:
        value["properties"] = rest | value["properties"]
    elif "event_type" in fields:
        value["properties"] = properties_of(fields, value["properties"])
    if value.get("event") is None and fields.get("type") in PAGE_CALLS:
        value["event"] = fields["type"]
    event = event_line({**value, "device_id": device, "insert_id": text_id(value.get("insert_id"))})
    if named and isinstance(value.get("traits"), dict) and value["traits"]:
        traits.write(traits_line(value))
    if named and device is not None:
        traits.write(owners.line(device, value["user_id"], value["time"]))
    events.write(event)


def objects_from_text(field: str, value: dict[str, Any], found: Mapping[str, str | None]) -> str | None:
    """Read the JSON text of an object, as tables export it. Returns its column; raises InvalidRecord."""
    text = value.get(field)
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"the column {found[field]!r} is not JSON: {error}") from None
    if read is not None and not isinstance(read, dict):
        raise InvalidRecord(f"the column {found[field]!r} is not a JSON object")
    value[field] = read or {}
    return found[field]


def text_id(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def publish(
    workspace: str,
    folders: Folders,
    staging: Path,
    names: Sequence[str],
    imported: Imported,
    about: Origin,
    replaces: Replaces,
    followed: "Followed",
) -> None:
    """List the file's events, its users' properties and its content, in one publication; what it replaces
    goes in the same."""
    rows = replaces.rows(workspace, staging, about.source)
    taken = take_out(workspace, folders, rows, replaces.imports) if rows else TakenOut()
    known = taken.files(workspace, folders, FileKind.EVENTS) if rows else None
    prepared = compact.prepare(
        workspace, folders, staging, about.key, about.key,
        known=known, names=names, progress=followed.writing,
    )  # fmt: skip
    events = [p for p in prepared if p.kind == FileKind.EVENTS]
    imported.rows, imported.repeats = sum(p.written.rows for p in events), sum(p.repeats for p in events)
    imported.users, imported.replaced = sum(p.users for p in prepared), taken.events
    row = row_of(imported, about)
    new = [replace(one, imports=[row]) for one in prepared]
    done = Publication(new, imported=row)
    if rows:
        what = f"replaced by the import of {imported.file}"
        gone = forget_imports(workspace, folders, taken) if replaces.source_days else []
        undone = sorted({*replaces.imports, *gone})
        done = publication_of(workspace, folders, taken, what, about.by, undone, added=new, imported=row)
    publication.publish(workspace, folders, done)
