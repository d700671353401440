"""What a query over a workspace's events reads, if all that was acknowledged is there."""

import re
from collections.abc import Iterable, Sequence

from events.custody import check_file
from events.devices import OF_OWNERS, ONLY_OWNERS
from events.engine import EngineError
from events.layout import Layout
from events.models import CatalogueEntry, EventFile, FileKind, FileState, PropertyColumn
from events.site import OtherSite, check_site
from events.workspace_folders import DEFAULT_WORKSPACE, Folders, Refused, check_kept_here, workspaces

__all__ = [
    "DEFAULT_WORKSPACE", "Folders", "Incomplete", "Refused", "check_kept_here", "column_numbers",
    "find_unknown", "read_layout", "workspaces",
]  # fmt: skip

TRAITS = re.compile(r"^traits-|-traits\.parquet$")


class Incomplete(EngineError):
    """Events that were acknowledged cannot be read: a cohort without them would have other members."""

    code = "incomplete_events"


def column_numbers(workspace: str) -> dict[str, int]:
    return dict(PropertyColumn.objects.filter(workspace=workspace).values_list("name", "number"))


def read_layout(workspace: str) -> Layout:
    """Return what a query over the workspace reads now. Its files stay on disk while a query may run.

    Each file is verified before its first use in a process. Raises Incomplete.
    """
    try:
        check_site()
    except OtherSite as error:
        raise Incomplete(str(error)) from None
    folders = Folders(workspace)
    find_unknown(folders, workspace)
    files = list(EventFile.objects.filter(workspace=workspace, state=FileState.LISTED).order_by("id"))
    for file in files:
        check_file(folders, file)
    troubled = list(EventFile.objects.troubled(workspace))
    if troubled:
        raise Incomplete(sentence(workspace, troubled))
    counts = CatalogueEntry.objects.filter(workspace=workspace, property_name="").exclude(event="")
    present = frozenset(column for file in files for column in file.columns)
    held = [file for file in files if file.rows]
    traits = [file for file in held if file.kind == FileKind.TRAITS]

    def paths(those: Iterable[EventFile]) -> tuple[str, ...]:
        return tuple(str(folders.files / file.name) for file in those)

    return Layout(
        events=paths(file for file in held if file.kind == FileKind.EVENTS),
        traits=paths(file for file in traits if ONLY_OWNERS not in file.columns),
        owners=paths(file for file in traits if OF_OWNERS in file.columns),
        columns=column_numbers(workspace),
        present=present,
        has_rest="rest" in present,
        counts=dict(counts.values_list("event", "count")),
    )


def find_unknown(folders: Folders, workspace: str) -> None:
    """Note the files that the database does not know: of another database, or newer than a restored one.

    A publication that is under way says so before its files are there, and until they are listed.
    """
    names = {path.name for path in folders.files.glob("*") if path.suffix in (".parquet", ".jsonl")}
    if folders.marker.exists():
        return
    known = EventFile.objects.filter(workspace=workspace, name__in=names)
    for name in sorted(names - set(known.values_list("name", flat=True))):
        lines = name.endswith(".jsonl")  # of the spool, and damaged (salvage.py)
        EventFile.objects.get_or_create(
            workspace=workspace,
            name=name[:64],
            defaults={
                "kind": FileKind.TRAITS if TRAITS.search(name) else FileKind.EVENTS,
                "rows": 0,
                "size": (folders.files / name).stat().st_size,
                "state": FileState.DAMAGED if lines else FileState.UNKNOWN,
                "problem": "holds damaged lines of what came in"
                if lines
                else "is not known to this database",
            },
        )


def sentence(workspace: str, troubled: Sequence[EventFile]) -> str:
    first, others = troubled[0], len(troubled) - 1
    more = f", and {others} more" if others else ""
    return (
        f"The events of the workspace {workspace!r} are incomplete: the file {first.name} "
        f"{first.problem}{more}. Cohorts keep the members that they have; manage.py check_events says what "
        "to do."
    )
