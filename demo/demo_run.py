"""The demo itself: cohorts of what people did, sent to two partners, read back and compared."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import requests
from django.core.management import call_command

from cohorts import refresh
from cohorts.calculate import FAILURES, calculate
from cohorts.models import Cohort
from cohortsite.apply import apply
from cohortsite.config_file import load
from demo import made_up
from demo.customers import CLICKS, PURCHASES, bought_recently, lapsed_regulars, left_a_cart
from destinations.endpoint import Kind
from destinations.models import Destination
from events.engine import EngineError
from events.formats import UnreadableFile
from events.importing import Mapped, import_file
from events.tables import InvalidTable
from people.profiles import Refused
from receiving.errors import Unauthorized
from receiving.keys import Credential, create_key, find_key
from receiving.models import Workspace
from syncs import reporting
from syncs.choices import OPEN_RUNS, RunMode, RunState, Trigger
from syncs.delivery.slots import drive_runs
from syncs.lifecycle import start
from syncs.models import Run, Sync

CONFIG = Path(__file__).with_name("config.yaml")
KEY_VARIABLE = "DEMO_PARTNER_KEY"
# The files of events, the workspace that they are imported for, and how they are read.
EVENTS = (
    (
        "demo-music",
        PURCHASES,
        Mapped(columns={"user_id": "customer_id", "time": "date"}, constants={"event": "cd_purchase"}),
    ),
    ("demo-shop", CLICKS, Mapped()),
)
# Cohorts as of a day's end, one step after the other.
STEPS = (
    (date(1997, 3, 31), ("recent-buyers", "lapsed-regulars")),
    (date(1998, 6, 30), ("recent-buyers", "lapsed-regulars")),
    (date(2024, 6, 29), ("left-a-cart",)),
)
# Who should be in them, without the engine.
COUNTED: dict[str, Callable[[date], list[str]]] = {
    "recent-buyers": bought_recently,
    "lapsed-regulars": lapsed_regulars,
    "left-a-cart": left_a_cart,
}


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `equal` is None where there is nothing to compare."""

    what: str
    users: int | None = None
    entered: int | None = None
    left: int | None = None
    requests: int | None = None
    seconds: float | None = None
    equal: bool | None = None
    difference: str = ""


def tell(base_url: str, stop: threading.Event) -> Iterator[Row]:
    """Do the demo step by step, at the site that is served at `base_url`; yield what happened.

    The first time, two cohorts are sent as of both of their dates. Later they are brought to the last one
    again: what somebody has changed meanwhile is put right, and when nobody has, nothing is sent.
    """
    key = _set_up(base_url)
    for workspace, file, mapped in EVENTS:
        yield _events(workspace, file, mapped)
    first_time = not Cohort.objects.filter(key__in=COUNTED, version__gt=0).exists()
    last = {key: as_of for as_of, keys in STEPS for key in keys}
    for as_of, keys in STEPS if first_time else STEPS[1:]:
        for cohort in Cohort.objects.filter(key__in=keys).order_by("-key"):
            cohort.definition = earlier(cohort.definition, last[cohort.key] - as_of)
            yield _calculated(cohort, as_of)
            syncs = list(cohort.syncs.filter(archived_at=None).select_related("cohort", "destination"))
            runs = _sync(syncs, stop)
            for sync in syncs:
                yield _compared(Sync.objects.get(pk=sync.pk), [r for r in runs if r.sync_id == sync.pk], key)
    yield from _made_up(stop, key)


def _made_up(stop: threading.Event, key: str) -> Iterator[Row]:
    """Import people with addresses, send them to a partner that knows people by hashes, and forget one."""
    began = monotonic()
    cohort = Cohort.objects.get(key=made_up.COHORT)
    try:
        version = made_up.bring(cohort).version
    except (refresh.RefreshError, InvalidTable, Refused) as error:
        raise DemoFailed(f"{cohort.name}: {error}") from None
    cohort.refresh_from_db()
    seconds, expected = monotonic() - began, {user for user, _, _ in made_up.left()}
    ours = set(_members_here(cohort))
    yield Row(
        f"{cohort.name}, a file with addresses and numbers (version {version.number})",
        *(version.size, version.entered, version.left),
        seconds=seconds,
        equal=ours == expected,
        difference=_differ(expected, ours),
    )
    sync = cohort.syncs.get(archived_at=None)
    runs = _sync([sync], stop)
    yield _compared(Sync.objects.get(pk=sync.pk), runs, key, made_up.hashes_of(made_up.left()))
    yield _forgotten(sync, key, stop)


def _forgotten(sync: Sync, key: str, stop: threading.Event) -> Row:
    began = monotonic()
    certificate = made_up.forget(stop)
    sync.refresh_from_db()
    theirs, expected = set(_members_there(sync, key)), made_up.hashes_of(made_up.left())
    reply: dict[str, Any] = next(iter(certificate["done"].get("partners", [])), {})
    said = f"removed by batch {reply['batch']}, {reply['status']}" if "batch" in reply else "not removed yet"
    gone = made_up.is_gone_here(sync.cohort)
    difference = _differ(expected, theirs) or ("" if gone else " ".join(certificate["waits_for"]))
    return Row(
        f"    {made_up.FORGOTTEN} is forgotten: {said}; certificate {certificate['certificate']}",
        len(theirs),
        seconds=monotonic() - began,
        equal=theirs == expected and gone,
        difference=difference,
    )


def _set_up(base_url: str) -> str:
    """Apply the demo's configuration; return the key that the partner knows us by."""
    key = _kept_key() or create_key(_workspace(), name="The demo's destinations")[1]
    os.environ[KEY_VARIABLE] = key
    document = load(CONFIG.read_bytes())
    for destination in document["destinations"]:
        destination["base_url"] = base_url
    apply(document, reset_moved=True)
    return key


def _workspace() -> Workspace:
    return Workspace.objects.get_or_create(slug="demo")[0]


def _kept_key() -> str:
    """Return the key of an earlier start, if the partner still takes it."""
    for destination in Destination.objects.filter(name__startswith="demo-"):
        kept = destination.credential.reveal()
        try:
            if find_key(Credential((kept,))).workspace.slug == "demo":
                return kept
        except Unauthorized:
            continue
    return ""


def _events(workspace: str, file: Path, mapped: Mapped) -> Row:
    """Import a file of events, unless that was done at an earlier start."""
    began = monotonic()
    try:
        imported = import_file(workspace, file, mapped)
    except (UnreadableFile, EngineError, OSError) as error:
        raise DemoFailed(str(error)) from None
    if imported.bad_lines:
        raise DemoFailed(f"{file.name}: {imported.problems[0]}")
    what = f"{imported.rows:,} events of {file.name}"
    return Row(f"{what} {'were' if imported.known else 'are'} imported", seconds=monotonic() - began)


def earlier(definition: Any, by: timedelta) -> Any:
    """Return a definition whose windows are so much earlier.

    Those of the configuration are days of the calendar: a cohort keeps its people when somebody calculates it
    now, years after the data's end.
    """
    if isinstance(definition, list):
        return [earlier(one, by) for one in definition]
    if not isinstance(definition, dict):
        return definition
    return {
        name: str(date.fromisoformat(value) - by) if name in ("from", "to") else earlier(value, by)
        for name, value in definition.items()
    }


def _calculated(cohort: Cohort, as_of: date) -> Row:
    """Calculate a cohort as of a day's end, and compare it with a count of the file in plain Python."""
    began = monotonic()
    instant = datetime.combine(as_of + timedelta(days=1), time(), UTC)
    try:
        version = calculate(cohort, as_of=instant, replace_held=True)
    except FAILURES as error:
        raise DemoFailed(f"{cohort.name}: {error}") from None
    seconds = monotonic() - began
    ours, counted = set(_members_here(cohort)), set(COUNTED[cohort.key](as_of))
    return Row(
        f"{cohort.name}, as of {as_of} (version {version.number})",
        version.size,
        version.entered,
        version.left,
        seconds=seconds,
        equal=ours == counted,
        difference=_differ(counted, ours),
    )


def _differ(wanted: set[str], found: set[str]) -> str:
    if wanted == found:
        return ""
    return f"{len(wanted - found):,} missing, {len(found - wanted):,} too many"


def _sync(syncs: list[Sync], stop: threading.Event) -> list[Run]:
    runs = [start(sync, trigger=Trigger.COMMAND, mode=_mode(sync)) for sync in syncs]
    with reporting.Bars(quiet=False) as bars:
        return drive_runs(runs, stop=stop, report=bars.show)


def _mode(sync: Sync) -> str:
    """A full run where we know nothing of the partner's side; it also removes who has left since."""
    if opened := sync.runs.filter(state__in=OPEN_RUNS).first():
        return opened.mode
    return RunMode.CHANGES if sync.settled_version else RunMode.FULL


def _compared(sync: Sync, runs: list[Run], key: str, expected: set[str] | None = None) -> Row:
    """Say what the runs of a sync did, and whether the partner now has exactly the cohort, or `expected`."""
    theirs, ours = set(_members_there(sync, key)), expected or set(_members_here(sync.cohort))
    difference = _differ(ours, theirs)
    for run in runs:
        if run.state != RunState.SUCCEEDED:
            difference = f"{run.get_state_display()}: {run.reason} {difference}".strip()
    in_full = any(run.mode == RunMode.FULL for run in runs)
    return Row(
        f"    {sync.destination.title}: {'everybody' if in_full else 'only who moved'}",
        len(theirs),
        sum(run.added for run in runs),
        sum(run.removed for run in runs),
        sum(run.requests for run in runs),
        sum(map(_seconds, runs)),
        theirs == ours,
        difference,
    )


def _seconds(run: Run) -> float:
    return (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else 0.0


def _members_here(cohort: Cohort) -> Iterator[str]:
    out = StringIO()
    call_command("export_members", cohort.key, "--json", stdout=out)
    yield from map(json.loads, out.getvalue().splitlines())


def _members_there(sync: Sync, key: str) -> Iterator[str]:
    """Yield the users that the partner has, as it tells over HTTP."""
    destination = sync.destination
    if destination.kind == Kind.LIST and not sync.list_id:
        return  # a cohort that was always empty: no list was ever made
    if destination.kind == Kind.LIST:
        address, query = f"/lists/{sync.list_id}/members", {"format": "ndjson"}
    else:
        address, query = "/traits/members", {"format": "ndjson", "name": sync.external_name}
    with requests.Session() as session:
        session.trust_env = False
        reply = session.get(
            destination.base_url + address, params=query, auth=(key, ""), timeout=30, stream=True
        )
        if not reply.ok:
            raise DemoFailed(
                f"{destination.title} does not tell its members: {reply.status_code} {reply.text[:300]}"
            )
        for line in reply.iter_lines():
            yield json.loads(line)["userId"]
