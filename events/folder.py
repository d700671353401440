"""A folder that is watched: what is put there is imported, then moved to `done` or `failed`.

A file is taken when it has not changed for SETTLED seconds: one that is still being copied waits. Its name
may choose how it is read: names that begin with `users` or `traits` hold users' properties.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from events.engine import EngineError
from events.event_tables import Unreachable
from events.formats import UnreadableFile
from events.importing import Imported, Mapped, import_file
from events.site import check_site
from events.workspace_folders import Folders, check_taken

SETTLED = 5.0


@dataclass(frozen=True)
class Taken:
    """A file of the folder and what became of it: `error` says why nothing was imported."""

    file: str
    imported: Imported | None
    error: str = ""


def inbox(workspace: str) -> Path:
    """Return the folder that is watched: EVENTS_DIR/WORKSPACE/inbox."""
    return Folders(workspace).root / "inbox"


def scan(workspace: str, now: float | None = None) -> list[Taken]:
    """Import what lies in the workspace's inbox. A crash between import and move is harmless: the content
    is known, and the file is moved at the next scan. Raises Refused or, at EVENTS_URL, Unreachable, and
    leaves what waits where it is."""
    waiting = list(settled(inbox(workspace), time.time() if now is None else now))
    if waiting:
        check_taken()
        if not settings.EVENTS_INSERT:
            check_site()
    return [take(workspace, path) for path in waiting]


def settled(folder: Path, now: float) -> Iterator[Path]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            # A time in the future, of a clock that was wrong, must not keep a file waiting for years.
            if (
                path.is_file()
                and not path.name.startswith(".")
                and abs(now - path.stat().st_mtime) >= SETTLED
            ):
                yield path


def take(workspace: str, path: Path) -> Taken:
    try:
        imported = import_file(workspace, path, Mapped(traits=path.name.startswith(("users", "traits"))))
    except Unreachable:
        raise  # nothing is wrong with the file: it waits where it is
    except (UnreadableFile, EngineError, OSError) as error:
        move(path, "failed", str(error))
        return Taken(path.name, None, str(error))
    move(path, "done", "\n".join(imported.problems))
    return Taken(path.name, imported)


def move(path: Path, where: str, note: str) -> None:
    """Move a file into a folder beside it, with a note of what was wrong."""
    folder = path.parent / where
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    if target.exists():
        target = folder / f"{time.time_ns()}-{path.name}"
    path.rename(target)
    if note:
        target.with_name(f"{target.name}.problems.txt").write_text(note + "\n")
