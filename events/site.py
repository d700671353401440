"""Which site a folder of events belongs to: another one's writing is refused.

EVENTS_DIR/site.json holds a key that the site's database holds, too. A copy of the site with a database of
its own, and a new database under an old folder, have another key or none: until `adopt_events` says that the
folder is theirs, they neither write nor read it.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import orjson
from django.conf import settings
from django.db import connection

from events.disk import write_durably
from events.models import Site
from events.workspace_folders import Refused

_checked: dict[Path, tuple[int, int]] = {}


class OtherSite(Refused):
    """The folder is another site's, or this site has another database than it had."""

    lasting = False


def check_site() -> None:
    """Raise OtherSite when the folder of events is not this site's. An empty folder becomes this site's."""
    path = mark()
    try:
        signature = signature_of(path)
    except FileNotFoundError:
        claim(path)
        signature = signature_of(path)
    found, own = read(path), Site.objects.filter(pk=1).values_list("key", flat=True).first()
    if found != own and not (own is None and not is_used(path.parent) and adopt_key(found)):
        raise OtherSite(
            f"The folder of events {path.parent} belongs to another site, or to this one with another "
            "database. If it is this site's: manage.py adopt_events. If not, set EVENTS_DIR to another."
        )
    _checked[path] = signature


def check_site_once() -> None:
    """The same; but a folder that this process found to be its own is believed while its mark is the same."""
    path = mark()
    with suppress(FileNotFoundError):
        if _checked.get(path) == signature_of(path):
            return
    had_connection = connection.connection is not None
    try:
        check_site()
    finally:
        # A thread that only appends has no use for a connection of its own, and would not close it.
        if not had_connection and not connection.in_atomic_block:
            connection.close()


def mark() -> Path:
    return _mark(settings.EVENTS_DIR)


@lru_cache(maxsize=4)
def _mark(folder: str | Path) -> Path:
    """Each received call asks for it: making a path anew takes longer than looking at the file."""
    return Path(folder) / "site.json"


def signature_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def claim(path: Path) -> None:
    """Make the folder this site's: it has no mark yet."""
    write(path, own_key())


def own_key() -> str:
    site, _ = Site.objects.get_or_create(pk=1, defaults={"key": uuid.uuid4().hex})
    return site.key


def adopt_key(key: str) -> bool:
    """Take a folder's key for a site that has none, since nothing is in the folder yet."""
    Site.objects.get_or_create(pk=1, defaults={"key": key})
    return Site.objects.filter(pk=1, key=key).exists()


def take_over() -> None:
    """Make the folder this site's, whoever it was."""
    write(mark(), own_key())


def write(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, orjson.dumps({"site": key}) + b"\n")


def read(path: Path) -> str:
    try:
        return str(orjson.loads(path.read_bytes())["site"])
    except (ValueError, KeyError, TypeError):
        return ""


def is_used(root: Path) -> bool:
    """Whether anything of a workspace lies in the folder."""
    return any(next(contents(folder), None) for folder in root.iterdir() if folder.is_dir())


def contents(workspace: Path) -> Iterator[Path]:
    for part in ("files", "spool", "sealed"):
        yield from (workspace / part).glob("*")
