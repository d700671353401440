"""From the spool to immutable sorted files, and from small files to larger ones.

One compaction at a time works on a workspace, held by a lock that dies with its process. A batch's file
carries the batch's name: a crash at any point leaves either segments that are not yet in the manifest,
and are compacted again, or segments that are, and are removed.
"""

import hashlib
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from events import catalogue, convert
from events.convert import Connection, Counted, Written, make_durable
from events.engine import Limits, connect
from events.layout import MAX_COLUMNS
from events.locks import locked, remove_abandoned
from events.models import EventFile, FileKind, PropertyColumn
from events.store import Folders, column_numbers

FAN = 8


@dataclass
class Compacted:
    """What a compaction did: events published, repeats left out, users' properties, files merged away."""

    events: int = 0
    repeats: int = 0
    users: int = 0
    merged: int = 0

    def add(self, prepared: "Prepared") -> None:
        self.events += prepared.written.rows if prepared.kind == FileKind.EVENTS else 0
        self.repeats += prepared.repeats
        self.users += prepared.users


def compact(workspace: str) -> Compacted:
    """Publish all that is in the workspace's spool, then merge small files.

    Waits for a compaction or an import of another process. Safe to kill at any point, and to repeat.
    """
    folders = Folders(workspace).make()
    done = Compacted()
    with locked(folders.lock):
        clean(workspace, folders)
        seal(folders)
        for batch in sorted(folders.sealed.iterdir()):
            for prepared in publish_batch(workspace, folders, batch):
                done.add(prepared)
        for kind in FileKind:
            done.merged += merge(workspace, folders, kind)
    return done


def limits() -> Limits:
    """A compaction is bounded in memory, not in time."""
    configured = Limits.configured()
    return Limits(configured.memory_mb, configured.threads, configured.temp_mb, None)


# --- The spool ------------------------------------------------------------------------------


def seal(folders: Folders) -> None:
    """Take the segments away from their writers, into the folder of a new batch."""
    batch = folders.sealed / uuid.uuid4().hex
    for segment in sorted(folders.spool.glob("*.jsonl")):
        with locked(segment):
            cut_torn_line(segment)
            batch.mkdir(exist_ok=True)
            segment.rename(batch / segment.name)
    make_durable(folders.sealed)


def cut_torn_line(segment: Path) -> None:
    """A last line without its end was never acknowledged: its writer died."""
    with segment.open("rb+") as file:
        size = file.seek(0, 2)
        end = size
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def publish_batch(workspace: str, folders: Folders, batch: Path) -> list["Prepared"]:
    prepared: list[Prepared] = []
    if not EventFile.objects.filter(workspace=workspace, name__startswith=batch.name).exists():
        prepared = prepare(workspace, folders, batch, batch.name)
        publish(workspace, folders, prepared)
    shutil.rmtree(batch)
    return prepared


def file_name(batch: str, kind: FileKind) -> str:
    return f"{batch}-{kind.value}.parquet"


# --- Publication ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A finished file that is not listed yet, in the temp folder; no file when it has no rows."""

    kind: FileKind
    name: str
    written: Written
    counts: Sequence[Counted] = ()
    repeats: int = 0
    users: int = 0


def prepare(workspace: str, folders: Folders, sources: Path, batch: str) -> list[Prepared]:
    """Turn a folder's spool lines into a file for each kind. The caller holds the workspace's lock."""
    prepared = []
    for kind, make in ((FileKind.EVENTS, prepare_events), (FileKind.TRAITS, prepare_traits)):
        paths = [path for path in sorted(sources.glob(f"{kind.value}-*.jsonl")) if path.stat().st_size]
        if paths:
            with connect(limits(), folders.temp) as connection:
                prepared.append(make(connection, workspace, folders, paths, file_name(batch, kind)))
    return [p for p in prepared if p.written.rows or p.repeats]


def prepare_events(
    connection: Connection, workspace: str, folders: Folders, sources: Sequence[Path], name: str
) -> Prepared:
    known = EventFile.objects.live(workspace, FileKind.EVENTS).values_list("name", flat=True)
    convert.load_events(connection, sources)
    repeats = convert.drop_repeats(connection, [str(folders.files / file) for file in known])
    counts = convert.count_events(connection)
    numbers = number_properties(workspace, counts)
    written = convert.write_events(connection, numbers, counts, folders.temp / name)
    return Prepared(FileKind.EVENTS, name, written, counts, repeats)


def prepare_traits(
    connection: Connection, workspace: str, folders: Folders, sources: Sequence[Path], name: str
) -> Prepared:
    convert.load_traits(connection, sources)
    counts = convert.count_traits(connection)
    users = convert.count_users(connection)
    written = convert.write_traits(connection, folders.temp / name)
    return Prepared(FileKind.TRAITS, name, written, counts, users=users)


@transaction.atomic
def publish(workspace: str, folders: Folders, prepared: Sequence[Prepared]) -> None:
    """Move finished files to their place and list them, all or none."""
    for one in prepared:
        if one.written.rows:
            list_file(workspace, folders, one)
            catalogue.add(workspace, one.counts)


def list_file(workspace: str, folders: Folders, prepared: Prepared) -> None:
    target = (folders.temp / prepared.name).rename(folders.files / prepared.name)
    make_durable(folders.files)
    EventFile.objects.create(
        workspace=workspace,
        kind=prepared.kind,
        name=prepared.name,
        rows=prepared.written.rows,
        size=target.stat().st_size,
        columns=list(prepared.written.columns),
    )


def number_properties(workspace: str, counts: Sequence[Counted]) -> dict[str, int]:
    """Give columns to properties that have none yet, the most frequent first, while there are some left."""
    numbers = column_numbers(workspace)
    totals: dict[str, int] = {}
    for counted in counts:
        if counted.property is not None and counted.property not in numbers:
            totals[counted.property] = totals.get(counted.property, 0) + counted.count
    new = sorted(totals, key=lambda name: (-totals[name], name))[: MAX_COLUMNS - len(numbers)]
    added = {name: len(numbers) + index for index, name in enumerate(new)}
    PropertyColumn.objects.bulk_create(
        PropertyColumn(workspace=workspace, name=name, number=number) for name, number in added.items()
    )
    return numbers | added


# --- Merging and cleaning -------------------------------------------------------------------


def merge(workspace: str, folders: Folders, kind: FileKind) -> int:
    """Merge files of a similar size when there are many. Returns how many were merged away.

    A row is rewritten once for each power of FAN in the number of rows: a few times in its life.
    """
    tiers: dict[int, list[EventFile]] = {}
    for file in EventFile.objects.live(workspace, kind):
        tiers.setdefault(len(f"{file.rows:o}"), []).append(file)
    merged = 0
    for files in tiers.values():
        if len(files) >= FAN:
            merge_files(workspace, folders, kind, files)
            merged += len(files)
    return merged


def merge_files(workspace: str, folders: Folders, kind: FileKind, files: Sequence[EventFile]) -> None:
    # Named after what it holds: the next try of a merge that died writes the same file once more.
    parents = "\n".join(file.name for file in files)
    name = file_name(hashlib.sha256(parents.encode()).hexdigest()[:32], kind)
    paths = [str(folders.files / file.name) for file in files]
    merger = convert.merge_events if kind == FileKind.EVENTS else convert.merge_traits
    with connect(limits(), folders.temp) as connection:
        written = merger(connection, paths, folders.temp / name)
    with transaction.atomic():
        list_file(workspace, folders, Prepared(kind, name, written))
        EventFile.objects.filter(pk__in=[file.pk for file in files]).update(retired_at=timezone.now())


def clean(workspace: str, folders: Folders) -> None:
    """Remove what a crash left in the working folders, and retired files that no query can be reading.

    A file that is not listed stays: the database may be an older one, or another site's.
    """
    remove_abandoned(folders.temp)
    remove_abandoned(folders.staging)
    for path in folders.temp.glob("*.parquet"):
        path.unlink()
    before = timezone.now() - timedelta(seconds=2 * settings.EVENTS_SECONDS + 600)
    for file in EventFile.objects.filter(workspace=workspace, retired_at__lt=before):
        (folders.files / file.name).unlink(missing_ok=True)
        file.delete()
