"""Look at every file of events: is it there, whole, and what was written?"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
from django.db.models import QuerySet

from events.convert import quoted
from events.custody import problem_of, read_description
from events.models import EventFile, FileState
from events.publish import working
from events.store import find_unknown
from events.workspace_folders import Folders


@dataclass(frozen=True)
class Finding:
    """A file and how it stands; `problem` is empty when it is as it should be."""

    workspace: str
    file: str
    state: str
    rows: int
    size: int
    problem: str

    @property
    def sentence(self) -> str:
        remedy = LINES if self.file.endswith(".jsonl") else REMEDIES.get(FileState(self.state), "")
        return f"{self.workspace}/{self.file} {self.problem}. {remedy}".strip()


LINES = (
    "Read them in the folder `files`, send again what can be told of them, then: check_events --give-up NAME."
)
REMEDIES = {
    FileState.DAMAGED: "Put its copy from a backup into the folder `files`, or take what it was made of: "
    "manage.py adopt_events. If there is neither: check_events --give-up NAME.",
    FileState.MISSING: "Put its copy from a backup into the folders `files` and `manifest`, then: "
    "manage.py adopt_events. If there is none: check_events --give-up NAME.",
    FileState.UNKNOWN: "To count its events: manage.py adopt_events.",
}


def check(workspace: str) -> list[Finding]:
    """Verify sizes, sums, rows and descriptions, and note how each file stands.

    A file that was set aside and is whole again counts again.
    """
    with working(workspace) as folders:
        find_unknown(folders, workspace)
        unlisted = EventFile.objects.filter(workspace=workspace, state=FileState.UNKNOWN)
        for file in unlisted:
            if not (folders.files / file.name).exists():
                file.delete()
        return [look(folders, file) for file in in_use(workspace)]


def in_use(workspace: str) -> QuerySet[EventFile]:
    return EventFile.objects.filter(workspace=workspace).exclude(state=FileState.RETIRED).order_by("id")


def look(folders: Folders, file: EventFile) -> Finding:
    """Look at one file, and note how it stands."""
    state, problem = FileState(file.state), file.problem
    if state != FileState.UNKNOWN:
        damage = damage_of(folders.files / file.name, file)
        state = FileState.LISTED
        if damage:
            state = FileState.MISSING if damage == "is missing" else FileState.DAMAGED
        EventFile.objects.filter(pk=file.pk).turn(state, damage)
        problem = damage or description_problem(folders, file)
    return Finding(file.workspace, file.name, state, file.rows, file.size, problem)


def damage_of(path: Path, file: EventFile) -> str:
    if path.suffix == ".jsonl" and path.exists():
        return file.problem
    return problem_of(path, file.size, file.sha256, again=True) or rows_problem(path, file.rows)


def rows_problem(path: Path, rows: int) -> str:
    try:
        with duckdb.connect() as connection:
            counted = f"SELECT count(*) FROM read_parquet({quoted(str(path))})"
            [(found,)] = connection.execute(counted).fetchall()
    except duckdb.Error as error:
        return f"cannot be read: {str(error).splitlines()[0]}"
    return "" if found == rows else f"has {found:,} rows instead of {rows:,}"


def description_problem(folders: Folders, file: EventFile) -> str:
    """Such a file counts, but another database could not list it."""
    description = read_description(folders, file.name)
    if description is None:
        return "has no description that can be believed: it could not be listed by another database"
    if (description.sha256, description.rows) != (file.sha256, file.rows):
        return "is not the file that its description is about"
    return ""


def give_up(workspace: str, name: str) -> bool:
    """Accept that the events of a damaged or missing file are lost: cohorts are calculated without them."""
    with working(workspace):
        lost = EventFile.objects.filter(
            workspace=workspace, name=name, state__in=[FileState.DAMAGED, FileState.MISSING]
        )
        return bool(lost.retire())
