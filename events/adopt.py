"""List the files of a folder again, as they say of themselves: after a change or a restore of the database,
of the folder, or of both. Which of them hold the events is `lineage.py`."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from django.db import transaction
from django.utils import timezone

from events import convert
from events.compact import file_name, limits, number_names
from events.convert import quoted
from events.custody import (
    Description,
    all_descriptions,
    problem_of,
    read_descriptions,
    sum_of,
    write_description,
)
from events.engine import connect
from events.layout import column_stem
from events.lineage import Choice, Lineage
from events.models import EventFile, FileKind, FileState, ImportedFile
from events.publish import Prepared, Publication, list_file, list_import, number_as, publish, working
from events.recount import recount
from events.site import take_over
from events.store import column_numbers
from events.workspace_folders import Folders

BROKEN = (
    "manifest/{name}.json is damaged, and may say that rows were taken out of other files: nothing is "
    "listed. Put its copy from a backup there, or remove it and its file."
)


@dataclass
class Adopted:
    """What was done: files listed, files taken off the list, and sentences of what could not be done."""

    listed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def adopt(workspace: str, *, undescribed: bool = False) -> Adopted:
    """Make the folder this site's, and list what it holds. Safe to repeat.

    Files of a release whose files did not describe themselves are left alone unless `undescribed`: two of
    them may hold the same events, one merged from the other.
    """
    take_over()
    done = Adopted()
    with working(workspace) as folders:
        described = read_descriptions(folders)
        if undescribed:
            described |= describe_files(workspace, folders, described)
        if broken := [name for name, found in all_descriptions(folders).items() if not found]:
            # It may be about a file that others' rows were taken out of: they would come back.
            done.problems += [BROKEN.format(name=name) for name in broken]
            return done
        rows = {file.name: file for file in EventFile.objects.filter(workspace=workspace)}
        whole = frozenset(find_whole(workspace, folders, described, rows, done))
        listed = {name for name in whole if name in rows and rows[name].state == FileState.LISTED}
        choice = Choice(Lineage(described), whole, listed)
        choice.take_all()
        done.problems += choice.problems
        settle(workspace, folders, rows, choice, done)
        for name in done.listed:
            list_again(workspace, folders, described[name])
        settle_imports(workspace, described, choice)
        recount(workspace, folders)
    return done


def find_whole(
    workspace: str,
    folders: Folders,
    described: Mapping[str, Description],
    rows: Mapping[str, EventFile],
    done: Adopted,
) -> list[str]:
    """Return the files that can be listed: whole, and with a description of their own."""
    found = []
    for path in sorted(folders.files.glob("*.parquet")):
        description = described.get(path.name)
        if description and description.workspace == workspace:
            problem = problem_of(path, description.size, description.sha256, again=True)
        elif path.name in rows and rows[path.name].state == FileState.RETIRED:
            continue
        else:
            problem = "has no description, or one of another workspace (see --undescribed)"
        if problem:
            done.problems.append(f"{path.name} {problem}.")
        else:
            found.append(path.name)
    return found


def settle(
    workspace: str, folders: Folders, rows: Mapping[str, EventFile], choice: Choice, done: Adopted
) -> None:
    """Give each row of the manifest the state that follows from the choice."""
    covered = choice.lineage.roots_of(choice.chosen)
    for name, file in rows.items():
        own = EventFile.objects.filter(pk=file.pk)
        if name in choice.chosen or file.state == FileState.RETIRED:
            continue
        if choice.lineage.roots(name) <= covered:
            own.retire()
            done.retired.append(name)
        elif file.state == FileState.LISTED:
            there = (folders.files / name).exists()
            problem = "is damaged, and nothing else holds its events" if there else "is missing"
            own.turn(FileState.DAMAGED if there else FileState.MISSING, problem)
            done.problems.append(f"{name} {problem}.")
    for name in sorted(choice.lineage.described.keys() - rows.keys() - choice.chosen):
        # What the chosen files were made of: as replaced here as in the database that did it.
        if choice.lineage.roots(name) <= covered and (folders.files / name).exists():
            list_file(workspace, choice.lineage.described[name])
            EventFile.objects.filter(workspace=workspace, name=name).retire()
    now_listed = EventFile.objects.filter(workspace=workspace, state=FileState.LISTED)
    done.listed = sorted(choice.chosen - set(now_listed.values_list("name", flat=True)))


def list_again(workspace: str, folders: Folders, description: Description) -> None:
    """List a file as it is, or, where its columns have other numbers here, a copy with ours.

    Never the file before its copy: whoever died in between would leave other properties' values in it.
    """
    if number_as(workspace, description):
        list_file(workspace, description)
    else:
        renumber(workspace, folders, description)


def renumber(workspace: str, folders: Folders, description: Description) -> None:
    numbers = number_names(workspace, sorted(description.properties))
    name = file_name(uuid.uuid4().hex, FileKind(description.kind))
    with connect(limits(), folders.temp) as connection:
        written = convert.renumber_events(
            connection,
            str(folders.files / description.name),
            description.properties,
            numbers,
            folders.temp / name,
        )
    prepared = Prepared(
        FileKind(description.kind), name, written, merged_from=[description.name], imports=description.imports
    )
    publish(workspace, folders, Publication([prepared]))
    with transaction.atomic():
        list_file(workspace, description)
        EventFile.objects.filter(workspace=workspace, name=description.name).retire()


def settle_imports(workspace: str, described: Mapping[str, Description], choice: Choice) -> None:
    """List the imports whose rows are there; those whose rows were taken out are undone."""
    standing = {one["key"]: one for name in choice.chosen for one in described[name].imports}
    known = frozenset().union(*map(choice.lineage.imports, described))
    with transaction.atomic():
        for imported in standing.values():
            list_import(workspace, imported)
        ImportedFile.objects.filter(workspace=workspace, key__in=list(standing)).update(undone_at=None)
        ImportedFile.objects.standing(workspace).filter(key__in=known - standing.keys()).update(
            undone_at=timezone.now()
        )


def describe_files(
    workspace: str, folders: Folders, described: Mapping[str, Description]
) -> dict[str, Description]:
    """Describe files of an earlier release by their columns, as far as those tell the properties' names."""
    found = {}
    for path in sorted(folders.files.glob("*.parquet")):
        if path.name not in described and (description := describe(workspace, path)):
            write_description(folders, description)
            found[path.name] = description
    return found


def names_of_columns(workspace: str, stems: Sequence[str]) -> dict[str, int]:
    """Return properties and their numbers by the stems of their columns: `7_category`."""
    known = {column_stem(number, name): name for name, number in column_numbers(workspace).items()}
    found: dict[str, int] = {}
    for stem in stems:
        number, _, text = stem.partition("_")
        name = known.get(stem, text)
        found[f"{name}_{number}" if name in found else name] = int(number)
    return found


def describe(workspace: str, path: Path) -> Description | None:
    try:
        with duckdb.connect() as connection:
            rows = f"read_parquet({quoted(str(path))})"
            columns = [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()]
            [(count,)] = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()
    except duckdb.Error:
        return None
    kind = FileKind.EVENTS if "event" in columns else FileKind.TRAITS
    stems = [name[1:] for name in columns if name[:1] == "s" and name[1:2].isdigit()]
    return Description(
        workspace=workspace,
        kind=kind,
        name=path.name,
        rows=count,
        size=path.stat().st_size,
        sha256=sum_of(path),
        columns=tuple(c for c in columns if c not in convert.FIXED) if kind == FileKind.EVENTS else (),
        properties=names_of_columns(workspace, stems) if kind == FileKind.EVENTS else {},
    )
