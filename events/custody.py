"""What a file of events says of itself, so that any database can list it again, and whether it is intact.

Beside files/NAME lies manifest/NAME.json: whose it is, how many rows, which property has which column, the
SHA-256 of the file, the files that it was made of, and the imports whose rows it holds. Files are never
changed, so that a sum that differs means damage.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from events.disk import write_durably
from events.models import EventFile, FileState
from events.workspace_folders import Folders

Signature = tuple[int, int, int, int, int]
# What was found intact, and is the same file since.
_intact: dict[Path, tuple[Signature, str]] = {}


@dataclass(frozen=True)
class Description:
    """A file's own account of itself. `corrected`: rows of `merged_from` were taken out on purpose."""

    workspace: str
    kind: str
    name: str
    rows: int
    size: int
    sha256: str
    columns: tuple[str, ...] = ()
    properties: Mapping[str, int] = field(default_factory=dict)
    merged_from: tuple[str, ...] = ()
    corrected: bool = False
    imports: tuple[Mapping[str, Any], ...] = ()

    def encoded(self) -> bytes:
        body = orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)
        return orjson.dumps({"sha256": hashlib.sha256(body).hexdigest()}) + b"\n" + body + b"\n"

    @classmethod
    def decoded(cls, data: bytes) -> "Description":
        """Raises ValueError when it is not what was written."""
        head, _, body = data.partition(b"\n")
        body = body.rstrip(b"\n")
        if orjson.loads(head)["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("the description of the file is damaged")
        found = orjson.loads(body)
        for name in ("columns", "merged_from", "imports"):
            found[name] = tuple(found[name])
        return cls(**found)


def write_description(folders: Folders, description: Description) -> None:
    """Write it durably. It may be there before its file is, and stays when the file is gone."""
    write_durably(description_path(folders, description.name), description.encoded())


def description_path(folders: Folders, name: str) -> Path:
    return folders.manifest / f"{name}.json"


def read_description(folders: Folders, name: str) -> Description | None:
    """Return a file's description; None when there is none that can be believed."""
    try:
        return Description.decoded(description_path(folders, name).read_bytes())
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def read_descriptions(folders: Folders) -> dict[str, Description]:
    """Return all descriptions that can be believed, by their files' names."""
    return {name: description for name, description in all_descriptions(folders).items() if description}


def all_descriptions(folders: Folders) -> dict[str, Description | None]:
    names = [path.name.removesuffix(".json") for path in sorted(folders.manifest.glob("*.json"))]
    return {name: read_description(folders, name) for name in names}


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem_of(path: Path, size: int, sha256: str, *, again: bool = False) -> str:
    """Return what is wrong with a file, as a phrase; empty when it is what was written.

    A file is read once in a process, and then only when it was touched, or `again`.
    """
    try:
        status = path.stat()
        signature = (
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        )  # fmt: skip
        if status.st_size != size:
            return f"has {status.st_size:,} bytes instead of {size:,}"
        if not again and _intact.get(path) == (signature, sha256):
            return ""
        if sha256 and sum_of(path) != sha256:
            return "is damaged: its bytes are not those that were written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    _intact[path] = signature, sha256
    return ""


def check_file(folders: Folders, file: EventFile, *, again: bool = False) -> str:
    """Look at a listed file; set it aside when something is wrong. Returns what, or an empty text."""
    path = folders.files / file.name
    problem = problem_of(path, file.size, file.sha256, again=again)
    if problem:
        state = FileState.MISSING if problem == "is missing" else FileState.DAMAGED
        EventFile.objects.filter(pk=file.pk).turn(state, problem)
    return problem
