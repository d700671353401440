"""The folders of a workspace's events, and who may change them.

EVENTS_DIR/WORKSPACE/spool/     what came in: a segment for each writing process
                     sealed/    segments that a compaction has taken, a folder for each batch
                     staging/   an import that is being read, a folder for each
                     files/     immutable Parquet files; the database says which of them count
                     manifest/  what each of these files says of itself (custody.py)
                     temp/      what DuckDB spills
                     uploads/   files from the browser, a folder for each until it is imported
                     publishing.json   a publication that has begun (publish.py)
                     compact.lock
"""

import re
from pathlib import Path

from django.conf import settings

DEFAULT_WORKSPACE = "default"


class Refused(Exception):
    """Events cannot be taken in: the message says why, and what to do. `lasting`: trying again is no use."""

    lasting = True


def takes_events() -> bool:
    """Whether events that come in are counted: in files here, or in tables of ours at EVENTS_URL."""
    return not settings.EVENTS_URL or settings.EVENTS_INSERT


def check_taken() -> None:
    """Raise Refused when this site reads its events from tables of others: nobody would count them."""
    if not takes_events():
        raise Refused(
            "This site reads its events from the database at EVENTS_URL: nothing was stored. "
            "Write them to that database, or take EVENTS_URL out of the settings."
        )


def check_kept_here() -> None:
    """Raise Refused when events are in no files of this site: then they cannot be corrected here, either."""
    check_taken()
    if settings.EVENTS_URL:
        raise Refused("Events are in the database at EVENTS_URL: this is done there, and not here.")


class Folders:
    """Raises ValueError when a workspace's name is not a slug: it becomes a folder's name."""

    def __init__(self, workspace: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", workspace, re.ASCII):
            raise ValueError(f"{workspace!r} is not a workspace's name: letters, digits, - and _, at most 50")
        self.root = Path(settings.EVENTS_DIR) / workspace
        self.spool, self.sealed = self.root / "spool", self.root / "sealed"
        self.staging, self.files, self.temp = self.root / "staging", self.root / "files", self.root / "temp"
        self.manifest, self.marker = self.root / "manifest", self.root / "publishing.json"
        self.lock, self.uploads = self.root / "compact.lock", self.root / "uploads"

    def make(self) -> "Folders":
        for folder in (self.spool, self.sealed, self.staging, self.files, self.manifest, self.temp):
            folder.mkdir(parents=True, exist_ok=True)
        return self


def workspaces() -> list[str]:
    """Return the workspaces that have a folder."""
    root = Path(settings.EVENTS_DIR)
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
