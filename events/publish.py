"""A publication: finished files are listed, and others taken off the list, all of it or nothing.

    descriptions written → marker written → files moved to their place → one transaction → marker removed

From the marker on, a publication is finished by whoever works on the workspace next, however its process
ended. Without the marker nothing of it is there.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import transaction
from django.utils.dateparse import parse_datetime

from events import catalogue
from events.convert import Counted, Written
from events.custody import Description, description_path, read_description, sum_of, write_description
from events.disk import make_durable, write_durably
from events.layout import column_stem
from events.locks import locked
from events.models import Correction, EventFile, FileKind, FileState, ImportedFile, PropertyColumn
from events.recount import recount
from events.site import check_site
from events.store import column_numbers
from events.workspace_folders import Folders

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A finished file that is not listed yet, in the temp folder."""

    kind: FileKind
    name: str
    written: Written
    counts: Sequence[Counted] = ()
    repeats: int = 0
    users: int = 0
    merged_from: Sequence[str] = ()
    corrected: bool = False
    imports: Sequence[Mapping[str, Any]] = ()

    @property
    def is_kept(self) -> bool:
        """An empty file is of use, too, when it says that what it was made of is gone."""
        return bool(self.written.rows or self.merged_from)


@dataclass(frozen=True)
class Publication:
    """`imported` and `correction` are rows to be, as JSON; `undone` keys of imports. `recounted` replaces
    the catalogue's entries of its events; otherwise the counts of the new files are added."""

    new: Sequence[Prepared] = ()
    retired: Sequence[str] = ()
    imported: Mapping[str, Any] | None = None
    undone: Sequence[str] = ()
    correction: Mapping[str, Any] | None = None
    recounted: catalogue.Recount | None = None

    def marker(self) -> dict[str, Any]:
        return {
            "new": [one.name for one in self.new if one.is_kept],
            "retired": list(self.retired),
            "imported": self.imported,
            "undone": list(self.undone),
            "correction": self.correction,
        }


@contextmanager
def working(workspace: str) -> Iterator[Folders]:
    """Be the one who changes the workspace's files: waits for others. Raises OtherSite."""
    folders = Folders(workspace)
    check_site()
    folders.make()
    with locked(folders.lock):
        finish_begun(workspace, folders)
        describe_listed(workspace, folders)
        yield folders


def publish(workspace: str, folders: Folders, publication: Publication) -> None:
    """Do it whole or not at all; the caller is `working` on the workspace.

    The marker comes first: what is described and never published must be found again, or it would be taken
    for a file that was published and is missing.
    """
    begun = publication.marker()
    descriptions = [description_of(workspace, folders, one) for one in publication.new if one.is_kept]
    write_durably(folders.marker, orjson.dumps(begun))
    try:
        for description in descriptions:
            write_description(folders, description)
        move_in(folders, begun)
        with transaction.atomic():
            record(workspace, folders, begun)
            for one in publication.new:
                catalogue.add(workspace, one.counts)
            if publication.recounted:
                catalogue.replace(workspace, publication.recounted)
    except Exception:
        take_back(workspace, folders, begun)
        raise
    folders.marker.unlink()


def description_of(workspace: str, folders: Folders, prepared: Prepared) -> Description:
    path = folders.temp / prepared.name
    return Description(
        workspace=workspace,
        kind=prepared.kind,
        name=prepared.name,
        rows=prepared.written.rows,
        size=path.stat().st_size,
        sha256=sum_of(path),
        columns=tuple(prepared.written.columns),
        properties=properties_of(workspace, prepared.written.columns),
        merged_from=tuple(prepared.merged_from),
        corrected=prepared.corrected,
        imports=tuple(prepared.imports),
    )


def properties_of(workspace: str, columns: Sequence[str]) -> dict[str, int]:
    """Return the number of each property that has one of the columns."""
    numbers, present = column_numbers(workspace), set(columns)
    return {name: number for name, number in numbers.items() if f"s{column_stem(number, name)}" in present}


def move_in(folders: Folders, begun: Mapping[str, Any]) -> None:
    for name in begun["new"]:
        if (folders.temp / name).exists():
            (folders.temp / name).rename(folders.files / name)
    make_durable(folders.files)


def record(workspace: str, folders: Folders, begun: Mapping[str, Any]) -> None:
    """Write what a publication says into the database; to do it twice is harmless."""
    for name in begun["new"]:
        description = read_description(folders, name)
        if description is None:
            raise OSError(f"The description of {name} cannot be read.")
        list_file(workspace, description)
    EventFile.objects.filter(workspace=workspace, name__in=begun["retired"]).retire()
    ImportedFile.objects.filter(workspace=workspace, key__in=begun["undone"], undone_at=None).update(
        undone_at=parse_datetime(begun["correction"]["at"]) if begun["correction"] else None
    )
    if begun["imported"]:
        list_import(workspace, begun["imported"])
    if begun["correction"]:
        fields = {**begun["correction"], "at": parse_datetime(begun["correction"]["at"])}
        Correction.objects.get_or_create(workspace=workspace, key=fields.pop("key"), defaults=fields)


def list_file(workspace: str, description: Description) -> None:
    EventFile.objects.update_or_create(
        workspace=workspace,
        name=description.name,
        defaults={
            "kind": description.kind,
            "rows": description.rows,
            "size": description.size,
            "sha256": description.sha256,
            "columns": list(description.columns),
            "state": FileState.LISTED,
            "problem": "",
            "retired_at": None,
        },
    )


def list_import(workspace: str, imported: Mapping[str, Any]) -> None:
    fields = {**imported, "imported_at": parse_datetime(imported["imported_at"])}
    ImportedFile.objects.get_or_create(workspace=workspace, key=fields.pop("key"), defaults=fields)


def take_back(workspace: str, folders: Folders, begun: Mapping[str, Any]) -> None:
    """Undo a publication that failed; leave it to be finished when the database may have it."""
    if is_recorded(workspace, begun):
        return
    for name in begun["new"]:
        if (folders.files / name).exists():
            (folders.files / name).rename(folders.temp / name)
    leave(folders, begun)


def leave(folders: Folders, begun: Mapping[str, Any]) -> None:
    """Forget a publication; of its files that are not there, nothing stays that describes them."""
    for name in begun["new"]:
        if not (folders.files / name).exists():
            description_path(folders, name).unlink(missing_ok=True)
    folders.marker.unlink()


def is_recorded(workspace: str, begun: Mapping[str, Any]) -> bool:
    names, state = (begun["new"], FileState.LISTED) if begun["new"] else (begun["retired"], FileState.RETIRED)
    return EventFile.objects.filter(workspace=workspace, name__in=names, state=state).exists()


def finish_begun(workspace: str, folders: Folders) -> None:
    """Finish the publication that another process left behind."""
    try:
        begun = orjson.loads(folders.marker.read_bytes())
    except FileNotFoundError:
        return
    except orjson.JSONDecodeError:
        # What it published is on the list, or shown as not known to the database: adopt_events.
        folders.marker.rename(folders.marker.with_suffix(".damaged"))
        log.error("%s: publishing.json is damaged, and was set aside.", workspace)
        return
    descriptions = [read_description(folders, name) for name in begun["new"]]
    if all(descriptions):  # else it died before, and its files are in the temp folder still
        move_in(folders, begun)
    if all(d and (folders.files / d.name).exists() and number_as(workspace, d) for d in descriptions):
        with transaction.atomic():
            record(workspace, folders, begun)
        recount(workspace, folders)
        log.warning("%s: a publication that was interrupted has been finished.", workspace)
    leave(folders, begun)


def number_as(workspace: str, description: Description) -> bool:
    """Give properties the numbers that a file has for them. Returns whether they are free or the same."""
    known = column_numbers(workspace)
    taken = {number: name for name, number in known.items()}
    if any(
        known.get(name, number) != number or taken.get(number, name) != name
        for name, number in description.properties.items()
    ):
        return False
    PropertyColumn.objects.bulk_create(
        PropertyColumn(workspace=workspace, name=name, number=number)
        for name, number in description.properties.items()
        if name not in known
    )
    return True


def describe_listed(workspace: str, folders: Folders) -> None:
    """Let the files that an earlier release made describe themselves, too."""
    for file in EventFile.objects.filter(workspace=workspace, state=FileState.LISTED, sha256=""):
        path = folders.files / file.name
        if not path.exists() or path.stat().st_size != file.size:
            continue
        description = Description(
            workspace=workspace,
            kind=file.kind,
            name=file.name,
            rows=file.rows,
            size=file.size,
            sha256=sum_of(path),
            columns=tuple(file.columns),
            properties=properties_of(workspace, file.columns),
        )
        write_description(folders, description)
        EventFile.objects.filter(pk=file.pk).update(sha256=description.sha256)
