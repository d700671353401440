"""Lines of the spool that are damaged: set aside, so that the rest goes on, and named until somebody decides.

They go to files/SEGMENT.jsonl, which is listed as a damaged file: cohorts of the workspace say that they are
incomplete until `check_events --give-up`.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from events.disk import write_durably
from events.models import EventFile, FileKind, FileState
from events.records import is_intact
from events.workspace_folders import Folders

log = logging.getLogger(__name__)
TAIL = 4 * 1024 * 1024


def mend_end(segment: Path) -> None:
    """Take away a last line that has no end: its writer died before it was acknowledged. A whole line whose
    end alone was lost or damaged gets a new one."""
    with segment.open("rb+") as file:
        size = file.seek(0, 2)
        start = file.seek(max(0, size - TAIL))
        tail = file.read()
        if not tail or tail.endswith(b"\n"):
            return
        end = tail.rfind(b"\n") + 1
        for line in (tail[end:], tail[end:-1]):
            if is_intact(line):
                file.seek(start + end + len(line))
                file.write(b"\n")
                file.truncate()
                return
        file.truncate(start + end)


def set_damaged_aside(workspace: str, folders: Folders, batch: Path) -> None:
    """Leave only whole lines in a batch's segments. To be interrupted, and to repeat it, is harmless."""
    for kind in FileKind:
        for segment in sorted(batch.glob(f"{kind.value}-*.jsonl")):
            if damaged := list(damaged_lines(segment)):
                keep_aside(workspace, folders, kind, segment, damaged)


def damaged_lines(segment: Path) -> Iterator[bytes]:
    with segment.open("rb") as file:
        yield from (line for line in file if not is_intact(line.removesuffix(b"\n")))


def keep_aside(workspace: str, folders: Folders, kind: FileKind, segment: Path, damaged: list[bytes]) -> None:
    data = b"".join(damaged)
    write_durably(folders.files / segment.name, data)
    lines = "a damaged line" if len(damaged) == 1 else f"{len(damaged):,} damaged lines"
    problem = f"holds {lines} of what came in"
    EventFile.objects.update_or_create(
        workspace=workspace,
        name=segment.name[:64],
        defaults={
            "kind": kind,
            "rows": len(damaged),
            "size": len(data),
            "state": FileState.DAMAGED,
            "problem": problem,
            "retired_at": None,
        },
    )
    log.error("%s: %s %s.", workspace, segment.name, problem)
    with segment.open("rb") as file:
        write_durably(segment, b"".join(line for line in file if is_intact(line.removesuffix(b"\n"))))
