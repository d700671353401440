"""What comes in is appended to a file, and is safe on disk before the caller goes on. (With EVENTS_INSERT it
goes to a database in place of a file: see `append_lines`.)

Each process writes a segment of its own for each workspace and kind. Threads that arrive together share
one write and one fsync. A compaction takes a segment away by renaming it under the segment's lock; the
writer notices at its next append and begins a new one.
"""

import fcntl
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from events import inserting
from events.disk import make_durable
from events.models import FileKind
from events.records import InvalidRecord, event_line, traits_line
from events.site import check_site_once
from events.workspace_folders import Folders, Refused, check_kept_here, check_taken

__all__ = ["InvalidRecord", "Refused", "append", "append_both", "append_lines", "append_traits"]


def append(workspace: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Append events; when this returns they are on disk, and will be counted once.

    An event has user_id, event, time (ISO 8601, UTC when it names no zone), properties (an object) and
    insert_id (a string or None; a second event of the user with the same one is ignored). Raises
    InvalidRecord, whose message names the event by its index, and then nothing is stored; OSError when
    the disk refuses; ValueError when the workspace's name is not a slug.
    """
    append_both(workspace, events, ())


def append_traits(workspace: str, traits: Sequence[Mapping[str, Any]]) -> None:
    """Append users' traits: user_id, time, traits (an object; null unsets). As `append` otherwise."""
    append_both(workspace, (), traits)


def append_both(
    workspace: str, events: Sequence[Mapping[str, Any]], traits: Sequence[Mapping[str, Any]]
) -> None:
    """Append what one call brought; all of it is valid, or nothing is stored. As `append` otherwise.

    Raises Refused when this site keeps no events itself, or its folder is another site's.
    """
    check_taken()
    append_lines(workspace, _lines(events, event_line), _lines(traits, traits_line))


def append_lines(workspace: str, events: bytes, traits: bytes) -> None:
    """Append lines that are made already (see records.py), or insert them at EVENTS_URL. Raises Refused,
    OSError as `append_both`."""
    if settings.EVENTS_INSERT:
        inserting.insert(workspace, events, traits)
        return
    check_kept_here()
    check_site_once()
    for kind, lines in ((FileKind.EVENTS, events), (FileKind.TRAITS, traits)):
        if lines:
            segment_of(workspace, kind).append(lines)


def _lines(records: Sequence[Mapping[str, Any]], line: Callable[[Mapping[str, Any]], bytes]) -> bytes:
    lines = []
    for index, record in enumerate(records):
        try:
            lines.append(line(record))
        except InvalidRecord as error:
            raise InvalidRecord(f"item {index}: {error}") from None
    return b"".join(lines)


class Batch:
    """What several threads wrote at the same time: flushed by one of them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.flushed = False
        self.error: OSError | None = None


class Segment:
    def __init__(self, folder: Path, kind: FileKind) -> None:
        self.folder, self.kind = folder, kind
        self.path, self.descriptor = folder, -1
        self.collecting, self.flushing = threading.Lock(), threading.Lock()
        self.batch = Batch()

    def append(self, data: bytes) -> None:
        with self.collecting:
            batch = self.batch
            batch.parts.append(data)
        with self.flushing:
            if not batch.flushed:
                self.flush(batch)
        if batch.error:
            raise OSError(batch.error.errno, f"The events could not be stored: {batch.error.strerror}")

    def flush(self, batch: Batch) -> None:
        with self.collecting:
            self.batch = Batch()
        try:
            self.write(b"".join(batch.parts))
        except OSError as error:
            batch.error = error
        batch.flushed = True

    def write(self, data: bytes) -> None:
        self.take()
        try:
            size = os.fstat(self.descriptor).st_size
            try:
                written = 0
                while written < len(data):
                    written += os.write(self.descriptor, data[written:])
                os.fsync(self.descriptor)
            except OSError:
                # What is half written must not be joined to the next line.
                os.ftruncate(self.descriptor, size)
                raise
        except OSError:
            self.leave()
            raise
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def take(self) -> None:
        """Hold the lock of a segment that no compaction has taken; begin a new one if need be."""
        while True:
            if self.descriptor < 0:
                self.begin()
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            try:
                if self.path.stat().st_ino == os.fstat(self.descriptor).st_ino:
                    return
            except FileNotFoundError:
                pass
            self.leave()

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"{self.kind.value}-{uuid.uuid4().hex}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self.descriptor = os.open(self.path, flags, 0o644)
        make_durable(self.folder)

    def leave(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1


_segments: dict[tuple[str, str, FileKind], Segment] = {}
# A child of a fork has no thread of its parent's, and must not write into its parent's segments.
os.register_at_fork(after_in_child=_segments.clear)


def segment_of(workspace: str, kind: FileKind) -> Segment:
    key = (str(settings.EVENTS_DIR), workspace, kind)
    if found := _segments.get(key):
        return found
    # setdefault is atomic: of two threads that come first, one segment wins, and the other is empty.
    return _segments.setdefault(key, Segment(Folders(workspace).spool, kind))
