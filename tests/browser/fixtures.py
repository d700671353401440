"""One of everything, named as badly as somebody might: markup, long names, from right to left."""

import gzip
import json
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.utils import timezone

from cohorts.choices import UploadState
from cohorts.models import Cohort, Preview, Upload
from cohortsite import tokens
from cohortsite.models import Proposal
from cohortsite.proposing import propose
from destinations.models import Destination
from events import spool
from events.compact import compact
from events.models import CatalogueEntry
from receiving import store
from receiving.keys import create_key
from receiving.models import BodySearch, List, RequestLog, Workspace
from syncs import lifecycle
from syncs.choices import RunState, Step, Trigger
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync
from tests import world
from tests.partner import Call, Fault, Partner

SCRIPT = "<script>document.title='taken'</script>"
IMAGE = "<img src=x onerror=\"document.title='taken'\">"
ARABIC = "مستخدم ١٢٣ (قائمة)"
LONG = "Wer-hat-in-den-letzten-dreißig-Tagen-" + "sehr-" * 31 + "viel"
LONG_ID = "u-" + "0123456789" * 19
FORMULA = "=HYPERLINK(1)"
USERS = [SCRIPT, IMAGE, ARABIC, LONG_ID, FORMULA, *(f"user-{number:04d}" for number in range(1500))]
LEFT_CART = {
    "version": 1,
    "where": {
        "all": [
            {"performed": {"event": SCRIPT, "count": {">=": 2}, "window": {"last": "7d"}}},
            {"not": {"any": [{"user": {"property": IMAGE, "=": ARABIC}}, {"cohort": "hostile"}]}},
            {"sequence": {"steps": [{"event": "cart"}, {"event": LONG, "absent": True}], "within": "7d"}},
        ]
    },
}


@dataclass
class Made:
    """Rows whose pages are looked at; `pages` are their addresses, by a name."""

    hostile: Cohort
    calculated: Cohort
    held: Cohort
    destination: Destination
    property: Destination
    sync: Sync
    run: Run
    failed: Run
    waiting: Run
    guarded: Run
    rejection: Rejection
    workspace: Workspace
    list: List
    request: RequestLog
    pages: dict[str, str] = field(default_factory=dict)


def refuse_some(call: Call) -> Fault | None:
    """Refuse the users whose names are markup, with a reply that is markup too."""
    bad = [user for user in call.users if user in (SCRIPT, ARABIC, LONG_ID, FORMULA)]
    if not bad or call.kind == "create":
        return None
    return Fault(400, {"error": {"code": "invalid_user_id", "message": IMAGE, "invalidUserIds": bad}})


def set_up(partner: Partner, person: User) -> Made:
    """Fill the database; the partner refuses some users, and `person` has asked for a preview."""
    events()
    hostile = world.cohort(USERS, name=SCRIPT + IMAGE + ARABIC, key="hostile", description=IMAGE)
    destination = world.destination(partner.url, name="partner", title=f"{LONG[:150]} {IMAGE}")
    partner.fault = refuse_some
    sync = world.sync(hostile, destination)
    run = world.run(sync)
    world.fill(hostile, [*USERS[:900], "new-1", IMAGE + ARABIC])
    world.run(sync)
    world.fill(hostile, USERS)
    assert run.state == RunState.PARTIAL, run.reason

    calculated = world.cohort(name=LONG, source_kind="behavioral", definition=LEFT_CART, key="calculated")
    held = world.cohort(USERS[:100], name=ARABIC, guard_users=5, key="held")
    world.fill(held, USERS[:50])
    other = world.destination(partner.url, "amplitude-property", title=ARABIC, batch_size=100)
    failed_sync = world.sync(hostile, other)
    partner.fault = lambda call: Fault(401, {"error": SCRIPT})
    failed = world.run(failed_sync)
    guarded_sync = world.sync(held, destination)
    guarded = Run.objects.create(
        sync=guarded_sync,
        state=RunState.HELD,
        trigger=Trigger.SCHEDULE,
        from_version=0,
        to_version=1,
        reason=f"It would remove many: {IMAGE}",
        planned_adds=100,
        planned_removes=0,
    )
    waiting = lifecycle.start(sync, trigger=Trigger.PERSON, by=SCRIPT)
    parked = world.destination(partner.url, name="parked", title="Parked partner")
    world.sync(calculated, parked)
    Driver.objects.create(
        destination=parked, next_at=timezone.now() + timedelta(hours=1), next_reason=IMAGE, learned_size=100
    )
    uploads(hostile)
    preview(calculated, person)
    workspace, found, request = received()
    made = Made(
        hostile, calculated, held, destination, other, sync, run, failed, waiting, guarded,
        Rejection.objects.filter(sync=sync).first() or Rejection(), workspace, found, request,
    )  # fmt: skip
    made.pages = addresses(made, person)
    return made


def events() -> None:
    """People who did something, with names that are markup."""
    now = timezone.now().isoformat()
    rows = [
        {"user_id": user, "event": event, "time": now, "properties": {IMAGE: ARABIC, "price": 3}}
        for user in USERS[:20]
        for event in (SCRIPT, "cart", "purchase")
    ]
    spool.append("default", rows)
    compact("default")


def uploads(cohort: Cohort) -> None:
    for state, error in ((UploadState.DONE, ""), (UploadState.FAILED, f"Line 3: {IMAGE}")):
        Upload.objects.create(
            cohort=cohort,
            file=ContentFile(b"u1\n", name="users.csv"),
            original_name=f"{LONG}.csv" if error else f"{SCRIPT}.csv",
            state=state,
            error=error,
            version=1,
            ids=1,
            finished_at=timezone.now(),
        )


def preview(cohort: Cohort, person: User) -> None:
    Preview.objects.create(
        created_by=person,
        source_kind="behavioral",
        events_workspace="default",
        definition=cohort.definition,
        state="done",
        sentence=SCRIPT,
        size=2,
        sample=[SCRIPT, ARABIC],
        sql="SELECT 1",
        finished_at=timezone.now(),
    )


def proposed(destination: Destination) -> Proposal:
    """What somebody wants of a destination, and another has changed meanwhile."""
    other = User.objects.create_user(IMAGE[:150])
    wanted = Destination.objects.get(pk=destination.pk)
    wanted.title, wanted.rate, wanted.credential = SCRIPT, 5, "another"
    proposal = propose(wanted, other)
    destination.rate = 7
    destination.save_fields(["rate"])
    return proposal


def received() -> tuple[Workspace, List, RequestLog]:
    """The other side: a workspace that injects faults, with a key, a list and what was asked."""
    workspace = Workspace.objects.create(slug="acme", fault_delay_ms=1)
    key, _ = create_key(workspace, name=IMAGE)
    found = store.create_list(workspace, SCRIPT + ARABIC)
    store.add_members(found.member_set_id, sorted(USERS[:150]))
    body = json.dumps({"userIds": USERS[:10]}).encode()
    request = RequestLog.objects.create(
        workspace=workspace,
        key=key,
        received_at=timezone.now(),
        duration_ms=1.5,
        method="POST",
        path=f"/lists/{found.pk}/add",
        list_number=found.pk,
        status=400,
        code="invalid",
        message=IMAGE,
        remote_address="127.0.0.1",
        user_agent=SCRIPT,
        body=gzip.compress(body),
        body_head=body.decode(),
        body_bytes=len(body),
    )
    BodySearch.objects.create(workspace=workspace, user_id=IMAGE, found=[request.pk])
    return workspace, found, request


def addresses(made: Made, person: User) -> dict[str, str]:
    """Return the pages to look at. Lists of rows and forms to add are found in the admin's own table."""
    cohort = f"/admin/cohorts/cohort/{made.hostile.pk}"
    calculated = f"/admin/cohorts/cohort/{made.calculated.pk}"
    sync = f"/admin/syncs/sync/{made.sync.pk}"
    run = f"/admin/syncs/run/{made.run.pk}"
    page = f"/admin/destinations/destination/{made.destination.pk}"
    upload = made.hostile.uploads.order_by("pk")
    batch = Batch.objects.filter(run=made.run, step=Step.ADD).first()
    assert batch and Attempt.objects.filter(batch=batch).exists()
    tokens.create(person, IMAGE)
    proposal = proposed(made.destination)
    event = f"/admin/events/catalogueentry/{CatalogueEntry.objects.get(event=SCRIPT, property_name='').pk}"
    return {
        "proposal": f"/admin/cohortsite/proposal/{proposal.pk}/change/",
        "proposal, question": f"/admin/cohortsite/proposal/{proposal.pk}/do/refuse/",
        "overview": "/admin/",
        "two-factor login": "/account/two-factor/",
        "two-factor login, set up": "/account/two-factor/on/",
        "where, empty": "/admin/where/",
        "retention": "/admin/retention/",
        "where": f"/admin/where/?user={LONG_ID}",
        "where, markup": "/admin/where/?user=%3Cimg%20src=x%20onerror=%22document.title='taken'%22%3E",
        "new sync": "/admin/syncs/sync/new/",
        "new sync, where": f"/admin/syncs/sync/new/?cohort={made.calculated.pk}",
        "new sync, when": f"/admin/syncs/sync/add/?cohort={made.held.pk}&destination={made.property.pk}",
        "cohort from a file": "/admin/cohorts/cohort/from-file/",
        "cohort": f"{cohort}/",
        "cohort, form": f"{cohort}/change/",
        "cohort, calculated": f"{calculated}/change/",
        "cohort, not calculated": f"{calculated}/",
        "cohort, held": f"/admin/cohorts/cohort/{made.held.pk}/",
        "cohort, versions": f"{cohort}/versions/",
        "cohort, definition": f"{calculated}/settings/",
        "members": f"{cohort}/members/",
        "difference": f"{cohort}/difference/",
        "difference, held": f"/admin/cohorts/cohort/{made.held.pk}/difference/",
        "upload": f"{cohort}/upload/",
        "upload, done": f"{cohort}/uploads/{upload[0].pk}/",
        "upload, failed": f"{cohort}/uploads/{upload[1].pk}/",
        "preview": f"/admin/cohorts/cohort/previews/{Preview.objects.get().pk}/",
        "why": f"{calculated}/why/?user=user-0001",
        "cohort, history": f"{cohort}/history/",
        "cohort, delete": f"{cohort}/delete/",
        "destination, preset": "/admin/destinations/destination/add/?preset=custom",
        "destination": f"{page}/",
        "destination, form": f"{page}/change/",
        "destination, settings": f"{page}/settings/",
        "destination, paused": f"/admin/destinations/destination/{made.property.pk}/",
        "destination, test": f"{page}/test-request/",
        "destination, history": f"{page}/history/",
        "destination, delete": f"{page}/delete/",
        "sync": f"{sync}/",
        "sync, form": f"{sync}/change/",
        "sync, settings": f"{sync}/settings/",
        "sync, failed": f"/admin/syncs/sync/{made.failed.sync_id}/",
        "sync, dry run": f"{sync}/dry-run/",
        "sync, history": f"{sync}/history/",
        "sync, question": f"{sync}/do/full/",
        "sync, rename": f"{sync}/do/rename/",
        "run": f"{run}/change/",
        "run, waiting": f"/admin/syncs/run/{made.waiting.pk}/change/",
        "run, failed": f"/admin/syncs/run/{made.failed.pk}/change/",
        "run, held": f"/admin/syncs/run/{made.guarded.pk}/change/",
        "run, question": f"/admin/syncs/run/{made.guarded.pk}/do/refuse/",
        "cohort, question": f"/admin/cohorts/cohort/{made.held.pk}/do/approve/",
        "destination, question": f"{page}/do/pause/",
        "list, question": f"/admin/receiving/list/{made.list.pk}/do/delete/",
        "batch": f"{run}/batches/{batch.number}/",
        "rejected user": f"/admin/syncs/rejection/{made.rejection.pk}/change/",
        "driver": f"/admin/syncs/driver/{made.destination.pk}/change/",
        "workspace": f"/admin/receiving/workspace/{made.workspace.pk}/change/",
        "key": f"/admin/receiving/apikey/{made.workspace.keys.get().pk}/change/",
        "list": f"/admin/receiving/list/{made.list.pk}/change/",
        "request": f"/admin/receiving/requestlog/{made.request.pk}/change/",
        "search": f"/admin/receiving/bodysearch/{BodySearch.objects.get().pk}/change/",
        "event": f"{event}/change/",
        "event, question": f"{event}/do/rename/",
        "user": f"/admin/auth/user/{person.pk}/change/",
        "user, password": f"/admin/auth/user/{person.pk}/password/",
        "group": f"/admin/auth/group/{Group.objects.get(name='viewer').pk}/change/",
        "password": "/admin/password_change/",
        "API docs": "/api/docs/",
        "help": "/help/",
        "help, a document": "/help/delivery/",
        "help, found": "/help/?q=sync",
        "found": "/admin/search/?s=a",
    }
