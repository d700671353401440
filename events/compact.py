"""From the spool to immutable sorted files, and from small files to larger ones.

One compaction at a time works on a workspace, held by a lock that dies with its process. A batch's file
carries the batch's name: a crash at any point leaves either segments that are not yet listed, and are
compacted again, or segments that are, and are removed.
"""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from events import convert
from events.convert import Connection, Counted
from events.custody import check_file, description_path, read_description, read_descriptions
from events.disk import make_durable
from events.engine import Limits, Progress, connect, watched
from events.layout import MAX_COLUMNS
from events.lineage import Lineage
from events.locks import locked, remove_abandoned
from events.models import EventFile, FileKind, FileState, ImportedFile, PropertyColumn
from events.publish import Prepared, Publication, publish, working
from events.salvage import mend_end, set_damaged_aside
from events.store import column_numbers, find_unknown
from events.workspace_folders import Folders

FAN = 8
# Seconds for which an import that was stopped can go on where it was.
RESUMABLE = 86_400.0


@dataclass
class Compacted:
    """What a compaction did: events published, repeats left out, users' properties, files merged away."""

    events: int = 0
    repeats: int = 0
    users: int = 0
    merged: int = 0

    def add(self, prepared: Prepared) -> None:
        self.events += prepared.written.rows if prepared.kind == FileKind.EVENTS else 0
        self.repeats += prepared.repeats
        self.users += prepared.users


def compact(workspace: str) -> Compacted:
    """Publish all that is in the workspace's spool, then merge small files.

    Waits for a compaction or an import of another process. Safe to kill at any point, and to repeat.
    """
    done = Compacted()
    with working(workspace) as folders:
        clean(workspace, folders)
        seal(folders)
        for batch in sorted(path for path in folders.sealed.iterdir() if path.is_dir()):
            for prepared in publish_batch(workspace, folders, batch):
                done.add(prepared)
        # What is set aside may turn out to be a part of what would be merged.
        for kind in () if EventFile.objects.troubled(workspace).exists() else FileKind:
            done.merged += merge(workspace, folders, kind)
    return done


def limits() -> Limits:
    """A compaction is bounded in memory, not in time. Sorting fills all that the engine is given, and the
    process itself, with what the engine does not count, takes a quarter more."""
    configured = Limits.configured()
    return Limits(configured.memory_mb * 4 // 5, configured.threads, configured.temp_mb, None)


# --- The spool ------------------------------------------------------------------------------


def seal(folders: Folders) -> None:
    """Take the segments away from their writers, into the folder of a new batch."""
    batch = folders.sealed / uuid.uuid4().hex
    segments = [path for kind in FileKind for path in folders.spool.glob(f"{kind.value}-*.jsonl")]
    for segment in sorted(segments):
        with locked(segment):
            mend_end(segment)
            batch.mkdir(exist_ok=True)
            segment.rename(batch / segment.name)
    make_durable(folders.sealed)


def publish_batch(workspace: str, folders: Folders, batch: Path) -> list[Prepared]:
    """Publish a batch, unless a process that died had done it, and only had to remove the batch."""
    set_damaged_aside(workspace, folders, batch)
    kinds = [kind for kind in FileKind if not is_held(workspace, folders, file_name(batch.name, kind))]
    prepared = prepare(workspace, folders, batch, batch.name, kinds=kinds)
    publish(workspace, folders, Publication(prepared))
    shutil.rmtree(batch)
    return prepared


def is_held(workspace: str, folders: Folders, name: str) -> bool:
    """Whether the rows of a file are in one that is listed and there. A batch may come from a backup of the
    folder, and its file not: to be listed is not enough."""
    if not EventFile.objects.filter(workspace=workspace, name=name).exists():
        return False
    lineage = Lineage(read_descriptions(folders))
    listed = EventFile.objects.filter(workspace=workspace, state=FileState.LISTED)
    there = [file.name for file in listed if (folders.files / file.name).exists()]
    return any(name == other or name in lineage.roots(other) for other in there)


def file_name(batch: str, kind: FileKind) -> str:
    return f"{batch}-{kind.value}.parquet"


# --- Preparation ----------------------------------------------------------------------------


def prepare(
    workspace: str,
    folders: Folders,
    sources: Path,
    batch: str,
    origin: str | None = None,
    kinds: Sequence[FileKind] = tuple(FileKind),
    known: Sequence[str] | None = None,
    names: Sequence[str] = (),
    progress: Progress = lambda share: None,
) -> list[Prepared]:
    """Turn a folder's spool lines into a file for each kind; rows of an import bear its key as `origin`.

    Repeats of what is in the files `known`, all that are listed by default, are left out. `names` are the
    properties that have a column in an import's staged files. The caller is `working` on the workspace.
    """
    if known is None:
        known = usable(workspace, folders, FileKind.EVENTS)
    prepared = []
    for kind in kinds:
        if paths := convert.staged(sources, kind.value):
            target = folders.temp / file_name(batch, kind)
            with connect(limits(), folders.temp) as connection:
                if kind == FileKind.EVENTS:
                    with watched(connection, progress):
                        spooled = convert.load_events(connection, paths, names)
                        prepared.append(prepare_events(connection, workspace, spooled, target, origin, known))
                else:
                    prepared.append(prepare_traits(connection, paths, target, origin))
    return [p for p in prepared if p.written.rows or p.repeats]


def prepare_events(
    connection: Connection,
    workspace: str,
    spooled: convert.Spooled,
    target: Path,
    origin: str | None,
    known: Sequence[str],
) -> Prepared:
    left, repeats = convert.drop_repeats(connection, spooled, known)
    counts = convert.count_events(connection, left)
    numbers = number_properties(workspace, counts)
    written = convert.write_events(connection, left, numbers, counts, target, origin)
    return Prepared(FileKind.EVENTS, target.name, written, counts, repeats)


def prepare_traits(
    connection: Connection, sources: Sequence[Path], target: Path, origin: str | None
) -> Prepared:
    convert.load_traits(connection, sources)
    counts = convert.count_traits(connection)
    users = convert.count_users(connection)
    written = convert.write_traits(connection, target, origin)
    return Prepared(FileKind.TRAITS, target.name, written, counts, users=users)


def usable(workspace: str, folders: Folders, kind: FileKind) -> list[str]:
    """Return the paths of the workspace's files, without those that turn out to be damaged."""
    return [
        str(folders.files / file.name)
        for file in EventFile.objects.live(workspace, kind)
        if not check_file(folders, file)
    ]


def number_properties(workspace: str, counts: Sequence[Counted]) -> dict[str, int]:
    """Give columns to properties that have none yet, the most frequent first, while there are some left."""
    totals: dict[str, int] = {}
    for counted in counts:
        if counted.property is not None:
            totals[counted.property] = totals.get(counted.property, 0) + counted.count
    return number_names(workspace, sorted(totals, key=lambda name: (-totals[name], name)))


def number_names(workspace: str, names: Sequence[str]) -> dict[str, int]:
    """Give columns to the first of the names that have none, while there are some; return all numbers."""
    numbers = column_numbers(workspace)
    # After a restore the numbers may have gaps: what is given out is free, not merely the next.
    free = sorted(set(range(MAX_COLUMNS)) - set(numbers.values()))
    added = dict(zip((name for name in names if name not in numbers), free, strict=False))
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
            merged += merge_files(workspace, folders, kind, files)
    return merged


def merge_files(workspace: str, folders: Folders, kind: FileKind, files: Sequence[EventFile]) -> int:
    """Put files into one. Nothing is done when one of them is damaged: the others stay what they are."""
    if any(check_file(folders, file, again=True) for file in files):
        return 0
    name = file_name(uuid.uuid4().hex, kind)
    paths = [str(folders.files / file.name) for file in files]
    names = [file.name for file in files]
    with connect(limits(), folders.temp) as connection:
        if kind == FileKind.EVENTS:
            written = convert.merge_events(connection, paths, folders.temp / name)
        else:
            written = convert.merge_traits(connection, paths, folders.temp / name, undoable(workspace))
    prepared = Prepared(kind, name, written, merged_from=names, imports=imports_in(folders, names))
    publish(workspace, folders, Publication([prepared], retired=names))
    return len(files)


def imports_in(folders: Folders, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the imports whose rows some files hold, each once."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in names:
        if description := read_description(folders, name):
            found |= {one["key"]: one for one in description.imports}
    return list(found.values())


def undoable(workspace: str) -> list[str]:
    """Return the imports that can still be undone exactly: what they overwrote of users is kept apart."""
    since = timezone.now() - timedelta(days=settings.EVENTS_KEEP_DAYS)
    recent = ImportedFile.objects.standing(workspace).filter(imported_at__gte=since, key__isnull=False)
    return [key for key in recent.values_list("key", flat=True) if key]


def clean(workspace: str, folders: Folders) -> None:
    """Remove what a crash left in the working folders, and files that were replaced long ago.

    A file that is not listed stays: the database may be an older one, or another site's. While something
    of the workspace is damaged or missing, what it was made of stays, too.
    """
    remove_abandoned(folders.temp)
    remove_abandoned(folders.staging, RESUMABLE)
    for path in folders.temp.glob("*.parquet"):
        path.unlink()
    find_unknown(folders, workspace)
    if EventFile.objects.troubled(workspace).exists():
        return
    for file in EventFile.objects.removable(workspace):
        (folders.files / file.name).unlink(missing_ok=True)
        description_path(folders, file.name).unlink(missing_ok=True)
        file.delete()
