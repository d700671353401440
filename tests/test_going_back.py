"""A sync is set to an older version of its cohort, stays there, and goes on: over real HTTP."""

import json
import random
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohorts.choices import ScheduleKind
from cohorts.models import CohortVersion
from cohorts.refresh import apply_suppressions
from people import suppression
from syncs import comparing, due, erase, lifecycle, prune
from syncs import held as held_at
from syncs.choices import RunMode, RunState, Trigger
from syncs.lifecycle import CannotRun
from syncs.models import Run, Sync
from syncs.preview import preview
from syncs.status import attention
from syncs.status.facts import facts_of
from syncs.status.state import state_of
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
USERS = world.users(40)


@pytest.fixture
def server():
    with Partner() as partner:
        yield partner


@pytest.fixture
def sync(server):
    """Version 1 has users 0 to 19, version 2 10 to 29, version 3 5 to 34: the partner holds the last."""
    cohort = world.cohort(USERS[:20])
    made = world.sync(cohort, world.destination(server.url, threads=1, batch_size=5))
    for low, high in ((10, 30), (5, 35)):
        world.fill(cohort, USERS[low:high])
    assert world.run(made).state == RunState.SUCCEEDED
    return again(made)


def again(sync):
    return Sync.objects.select_related("cohort", "destination__driver").get(pk=sync.pk)


def held(server, sync):
    return server.members(world.name_at_partner(again(sync)))


def back(sync, version):
    run = lifecycle.go_back(sync, version, trigger=Trigger.PERSON, by="ada")
    world.go(sync.destination)
    run.refresh_from_db()
    return run


def on(sync):
    run = lifecycle.go_on(sync, trigger=Trigger.PERSON, by="ada")
    world.go(sync.destination)
    run.refresh_from_db()
    return run


def test_it_goes_back_by_the_difference_stays_and_goes_on(server, sync):
    shown = preview(again(sync), version=1)
    run = back(sync, 1)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 5, 15)
    assert (shown.adds, shown.removes, shown.to_version) == (5, 15, 1)
    assert held(server, sync) == world.members_at(sync, 1)
    # Newer versions are not sent, whoever asks for a run.
    world.fill(sync.cohort, USERS[30:])
    quiet = world.run(sync)
    assert (quiet.state, quiet.added, quiet.removed, quiet.to_version) == (RunState.SUCCEEDED, 0, 0, 1)
    full = world.run(sync, RunMode.FULL)
    assert (full.added, full.to_version) == (20, 1)
    assert held(server, sync) == world.members_at(sync, 1)
    # From one older version to another, and on.
    assert (back(sync, 2).added, again(sync).pinned_version) == (10, 2)
    assert held(server, sync) == world.members_at(sync, 2)
    run = on(sync)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 10, 20)
    assert held(server, sync) == world.wanted(sync)
    assert (again(sync).pinned_version, again(sync).settled_version) == (None, 4)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_fails_on_the_way_there_and_back_ends_equal(server, sync, seed):
    """Runs die in the middle, the cohort goes on, and people change their minds."""
    chance = random.Random(seed)
    for _ in range(12):
        server.fault = lambda call: Fault(403) if chance.random() < 0.15 else None
        version = again(sync).cohort.version
        step = chance.randrange(4)
        if step == 0:
            world.fill(sync.cohort, chance.sample(USERS, 20))
        elif step == 1 and again(sync).pinned_version:
            on(sync)
        elif step == 2:
            back(sync, chance.randrange(1, version))
        else:
            world.run(sync)
        server.fault = lambda call: None
        world.mend(sync.destination)
    for _ in range(2):
        world.run(sync)
    now = again(sync)
    assert (now.dirty, now.settled_version) == (False, now.pinned_version or now.cohort.version)
    assert held(server, sync) == world.members_at(sync, now.settled_version)
    if now.pinned_version:
        on(sync)
    assert held(server, sync) == world.wanted(sync)


def test_who_was_suppressed_is_not_brought_back_and_leaves_while_it_is_set_back(server, sync):
    before, meanwhile = USERS[1], USERS[12]
    suppression.add([suppression.Entry("user_id", before)], suppression.Said())
    back(sync, 1)
    assert held(server, sync) == world.members_at(sync, 1) - {before}
    suppression.add([suppression.Entry("user_id", meanwhile)], suppression.Said())
    world.run(sync)
    assert held(server, sync) == world.members_at(sync, 1) - {before, meanwhile}
    world.run(sync, RunMode.FULL)
    assert held(server, sync) == world.members_at(sync, 1) - {before, meanwhile}
    # Who comes off the list meanwhile is sent when it goes on.
    suppression.lift([suppression.Entry("user_id", meanwhile)])
    on(sync)
    assert meanwhile in held(server, sync) == world.wanted(sync)


def test_a_run_that_waits_is_replaced_and_one_that_goes_is_followed(server, sync):
    world.fill(sync.cohort, USERS[:3])
    waiting = lifecycle.start(sync, trigger=Trigger.SCHEDULE)
    back(sync, 2)
    waiting.refresh_from_db()
    assert (waiting.state, "goes back to version 2" in waiting.reason) == (RunState.CANCELLED, True)
    assert held(server, sync) == world.members_at(sync, 2)

    on(sync)
    world.fill(sync.cohort, USERS[:30])
    asked = []

    def meanwhile(call):
        if not asked:
            asked.append(lifecycle.go_back(again(sync), 1, trigger=Trigger.PERSON))
            connection.close()  # the partner's thread ends

    server.fault = meanwhile
    world.run(sync)
    world.go(sync.destination)
    assert held(server, sync) == world.members_at(sync, 1)


def test_it_is_shown_and_people_are_reminded_after_days(server, sync, settings):
    back(sync, 1)
    now = timezone.now()
    facts = facts_of([again(sync)], now)[sync.pk]
    assert state_of(facts).label == "Set back"
    assert "version 1 of 3 by ada" in state_of(facts).sentence
    assert attention.of(facts) is None
    late = now + timedelta(days=8)
    assert attention.of(facts_of([again(sync)], late)[sync.pk]).need == "set_back"
    assert [s.need for s in attention.with_need(Sync.objects.all(), late)] == ["set_back"]
    settings.SET_BACK_DAYS = 30
    assert attention.of(facts_of([again(sync)], late)[sync.pk]) is None


def test_pruning_keeps_the_version_that_it_is_set_to(server, sync):
    lifecycle.go_back(sync, 2, trigger=Trigger.PERSON)
    assert prune.floor_of(again(sync).cohort) == 2


def test_a_repair_while_it_is_set_back_puts_that_version_right(server, sync):
    back(sync, 1)
    comparison = again(sync).comparisons.create(trigger="person", state="done", version=1, missing=1)
    comparison.differences.create(kind="missing", user_id=USERS[0])
    server.lists[next(iter(server.lists))].discard(USERS[0])
    Sync.objects.filter(pk=sync.pk).update(list_id=again(sync).list_id)
    sync.destination.read_path, sync.destination.read_places = "/lists/$list_id", {"rows": "userIds"}
    sync.destination.save()
    comparing.repair(comparison, trigger=Trigger.PERSON)
    world.go(sync.destination)
    assert held(server, sync) == world.members_at(sync, 1)


def test_a_sync_that_follows_its_cohort_stays_where_it_is_set(server, sync):
    Sync.objects.filter(pk=sync.pk).update(schedule_kind=ScheduleKind.CHANGES)
    back(sync, 1)
    world.fill(sync.cohort, USERS[:2])
    due.start_due(timezone.now())
    world.go(sync.destination)
    due.start_due(timezone.now())
    assert not Run.objects.filter(state=RunState.PENDING).exists()
    assert held(server, sync) == world.members_at(sync, 1)


def test_the_command_names_a_version_or_a_time(server, sync, capsys):
    early = timezone.now() - timedelta(days=2)
    CohortVersion.objects.filter(cohort=sync.cohort, number=1).update(finished_at=early)

    def say(*words):
        try:
            call_command("go_back", str(sync), *words, "--json")
        except SystemExit as ended:
            assert ended.code == 0
        return json.loads(capsys.readouterr().out)

    shown = say("--as-of", (early + timedelta(days=1)).isoformat(), "--dry-run")
    assert (shown[0]["to_version"], shown[0]["adds"], again(sync).pinned_version) == (1, 5, None)
    assert say("--as-of", (early + timedelta(days=1)).isoformat())[0]["to_version"] == 1
    assert held(server, sync) == world.members_at(sync, 1)
    assert say("--go-on")[0]["to_version"] == 3
    assert held(server, sync) == world.wanted(sync)
    with pytest.raises(CannotRun, match="no version that is known"):
        lifecycle.version_at(sync, early - timedelta(days=1))
    for version in (0, 3, 4):
        with pytest.raises(CannotRun, match="before the latest"):
            lifecycle.go_back(sync, version, trigger=Trigger.PERSON)


def test_the_pages_and_the_rest_api_set_it_back_and_let_it_go_on(server, sync, admin_client):
    page, api = f"/admin/syncs/sync/{sync.pk}/", f"/api/v1/syncs/{sync}"
    assert "Dry run" in admin_client.get(f"{page}versions/").content.decode()
    assert admin_client.get(f"{api}/preview?version=1").json()["adds"] == 5
    shown = admin_client.get(f"{page}dry-run/?version=1").content.decode()
    assert "Version 3 →" in shown
    admin_client.post(f"{page}do/go-back/", {"text": "1"})
    world.go(sync.destination)
    assert held(server, sync) == world.members_at(sync, 1)
    assert "holds it" in admin_client.get(f"{page}versions/").content.decode()
    assert "Follow the cohort again?" in admin_client.get(f"{page}do/go-on/").content.decode()
    assert admin_client.post(f"{api}/go-on").json()["to_version"] == 3
    assert admin_client.post(f"{api}/go-on").status_code == 409
    body = {"as_of": "2001-01-01T00:00:00Z"}
    assert admin_client.post(f"{api}/go-back", body, content_type="application/json").status_code == 409
    made = admin_client.post(f"{api}/go-back", {"version": 2}, content_type="application/json").json()
    assert (made["to_version"], admin_client.get(api).json()["pinned_version"]) == (2, 2)
    for wrong in ({}, {"version": 1, "as_of": "2001-01-01T00:00:00Z"}):
        assert admin_client.post(f"{api}/go-back", wrong, content_type="application/json").status_code == 400


def test_whom_the_partner_held_at_a_time_since_when_and_by_which_batch(server, sync, admin_client):
    first = sync.runs.get()
    between = timezone.now()
    world.fill(sync.cohort, USERS[8:40])
    second = world.run(sync)
    back(sync, 2)
    third = sync.runs.first()

    def rows(moment):
        found = held_at.at(again(sync), moment)
        return found, {row.user_id: row for row in held_at.page(sync, found, "", 100)}

    assert rows(first.created_at)[0].version == 0
    found, users = rows(between)
    assert (found.version, found.certain, set(users)) == (3, True, world.members_at(sync, 3))
    sizes = [users[user].batch for user in USERS[5:35]]
    assert sizes == [2 + n // 5 for n in range(30)]  # the first made the list
    found, users = rows(second.finished_at)
    assert {row.run for row in users.values()} == {first.pk, second.pk}
    assert {user for user, row in users.items() if row.run == second.pk} == set(USERS[35:])
    # Whom going back has taken out and brought in again is there since then.
    on(sync)
    found, users = rows(timezone.now())
    assert {user for user, row in users.items() if row.run == sync.runs.first().pk} == set(
        USERS[30:40] + USERS[8:10]
    )
    assert third.to_version == 2

    # A run that was under way, or failed.
    world.fill(sync.cohort, USERS[:3])
    server.fault = lambda call: Fault(403)
    assert world.run(sync).state != RunState.SUCCEEDED
    assert not rows(timezone.now())[0].certain

    page, api = f"/admin/syncs/sync/{sync.pk}/", f"/api/v1/syncs/{sync}/held"
    shown = admin_client.get(f"{page}held/", {"at": between.isoformat()}).content.decode()
    assert "Version 3, 30 users." in shown
    assert f"Version {found.version}, " in admin_client.get(f"{page}held/").content.decode()
    assert "is no time" in admin_client.get(f"{page}held/?at=yesterday").content.decode()
    file = admin_client.get(f"{page}held.csv/", {"at": between.isoformat()})
    lines = b"".join(file.streaming_content).decode().splitlines()
    assert (len(lines), lines[1].split(",")[0]) == (31, USERS[5])
    answer = admin_client.get(api, {"at": between.isoformat(), "limit": 20}).json()
    assert (answer["version"], len(answer["users"]), answer["next"]) == (3, 20, USERS[24])
    assert (answer["users"][0]["run"], answer["users"][0]["batch"]) == (first.pk, 2)
    rest = admin_client.get(api, {"at": between.isoformat(), "after": answer["next"], "limit": 20}).json()
    assert (len(rest["users"]), rest["next"]) == (10, None)
    assert admin_client.get(api, {"at": "2026-01-01"}).status_code == 400


def test_who_was_there_takes_as_many_queries_for_many_runs_as_for_one(server, sync):
    counts = []
    for more in (1, 4):
        for number in range(more):
            world.fill(sync.cohort, [*world.members_at(sync, sync.cohort.version), f"v{more}{number}"])
            world.run(sync)
            sync = again(sync)
        found = held_at.at(sync, timezone.now())
        with CaptureQueriesContext(connection) as captured:
            rows = held_at.page(sync, found, "", 100)
        counts.append((len({row.run for row in rows}), len(captured)))
    (few, first), (many, second) = counts
    assert (many > few + 2, first) == (True, second)


def test_a_canary_of_a_run_back_is_nobody_who_is_to_be_taken_out(server, sync):
    """When the partner answers 404, somebody is added again whom it holds in all these versions."""
    world.fill(sync.cohort, USERS[5:35])
    world.run(sync)
    out = set(USERS[20:35])
    added = []

    def missing(call):
        if call.kind == "add":
            added.extend(call.users)
        return Fault(404) if call.kind == "remove" and len(call.users) > 1 else None

    for _ in range(5):  # whom it names is drawn
        server.fault = missing
        back(sync, 1)
        server.fault = lambda call: None
        world.mend(sync.destination)
        assert added
        assert out.isdisjoint(added)
        on(sync)
        world.run(sync)


def test_who_is_forgotten_is_taken_out_while_a_sync_is_set_back(server, sync):
    back(sync, 1)
    gone = USERS[12]
    suppression.add([suppression.Entry("user_id", gone)], suppression.Said())
    comparison = again(sync).comparisons.create(trigger="person", state="done", version=1, missing=1)
    comparison.differences.create(kind="missing", user_id=gone)
    apply_suppressions(sync.cohort_id)
    assert erase.waits_for(gone) == [f"{sync}: its next run takes them off."]
    world.run(sync)
    assert gone not in held(server, sync)
    assert erase.waits_for(gone) == []
    [proof] = erase.evidence(gone)
    assert proof["run"] == sync.runs.first().pk
    assert erase.erase(gone)["differences"] == 1
