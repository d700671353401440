"""Read back what a partner has, compare, and put right only what differs: over real HTTP."""

import hashlib
import json
import random
from itertools import chain, repeat

import pytest
from django.core.management import call_command
from django.utils import timezone

from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from destinations.presets import PRESETS
from people import profiles, suppression
from people.profiles import Said
from receiving.models import Workspace
from syncs import alerts, comparing, due
from syncs.choices import CompareState, RunMode, RunState, Trigger
from syncs.lifecycle import CannotRun, start
from syncs.models import Comparison, Difference, Run, Sync
from syncs.status import attention
from syncs.status.facts import facts_of
from tests import world

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 300


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture
def sync(server):
    return filled(server, "cohort-sync")


def filled(server, slug, count=COUNT, **fields):
    """A sync to the fake of a folder, which has been run once."""
    destination = world.destination(server.url, slug, **fields)
    server.partner = FakePartner(destination.endpoint(), PRESETS[slug].fake)
    made = world.sync(world.cohort(world.users(count)), destination)
    assert world.run(made).state == RunState.SUCCEEDED
    made.refresh_from_db()
    return made


def there(server, sync):
    return server.partner.lists[sync.list_id]


def compared(sync):
    done = comparing.run_one(comparing.ask(sync, trigger=Trigger.PERSON))
    assert done is not None
    assert done.state == CompareState.DONE, done.error
    return done


def found(comparison, kind):
    return set(comparison.differences.filter(kind=kind).values_list("user_id", flat=True))


def put_right(sync, comparison, **more):
    run = comparing.repair(comparison, trigger=Trigger.PERSON, **more)
    world.go(sync.destination)
    run.refresh_from_db()
    return run


def test_an_equal_list_is_proven_by_its_digest_without_reading_it(server, sync):
    server.partner.calls.clear()
    done = compared(sync)
    assert (done.by_digest, done.there, done.differs) == (True, COUNT, False)
    assert server.partner.calls == ["digest"]
    there(server, sync).remove("u0000007")
    there(server, sync).add("x")  # the count is the same
    done = compared(sync)
    assert (done.by_digest, done.missing, done.strangers, done.unknown) == (False, 1, 1, 0)


@pytest.mark.parametrize("seed", range(10))
def test_who_was_taken_and_added_behind_our_back_is_found_and_repaired_by_the_difference(server, sync, seed):
    chance = random.Random(seed)
    held = there(server, sync)
    taken = set(chance.sample(sorted(held), chance.randrange(1, 60)))
    added = {f"{chance.choice('aut~ü')}{n}" for n in range(chance.randrange(1, 60))}
    held -= taken
    held |= added
    done = compared(sync)
    assert (found(done, "missing"), found(done, "stranger")) == (taken, added)
    assert (done.expected, done.there) == (COUNT, COUNT - len(taken) + len(added))

    run = put_right(sync, done)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, len(taken), 0)
    assert held == world.wanted(sync) | added
    done = compared(sync)
    run = put_right(sync, done, remove_strangers=True)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 0, len(added))
    assert held == world.wanted(sync)
    assert compared(sync).by_digest
    sync.refresh_from_db()
    assert (sync.settled_version, sync.dirty) == (1, False)


def test_the_digest_is_not_believed_when_the_count_differs(server, sync):
    digest = FakePartner._digest(server.partner, type("R", (), {"names": {"list_id": sync.list_id}})())
    server.partner.fault = lambda name: (
        Answer(200, digest.body | {"count": COUNT + 1}) if name == "digest" else None
    )
    done = compared(sync)
    assert not done.by_digest
    assert "read" in server.partner.calls


def test_users_who_are_refused_or_being_sent_are_unknown_and_no_difference(server, sync):
    server.partner.unknown = {"u0000301"}
    world.fill(sync.cohort, world.users(COUNT + 2))
    assert world.run(sync).state == RunState.PARTIAL
    assert (compared(sync).unknown, compared(sync).differs) == (1, False)

    # A run that is stopped half way: it may have sent any of those who moved.
    world.fill(sync.cohort, world.users(COUNT, first=4))
    start(sync, trigger=Trigger.PERSON)
    Run.objects.filter(sync=sync, state=RunState.PENDING).update(state=RunState.FAILED)
    Sync.objects.filter(pk=sync.pk).update(dirty=True)
    there(server, sync).discard("u0000000")
    there(server, sync).discard("u0000100")
    done = compared(sync)
    assert found(done, "missing") == {"u0000100"}
    assert done.unknown == 4 + 2 + 1  # who left, who entered, and who was refused


def test_a_user_who_moves_while_the_list_is_read_is_unknown(server, sync):
    there(server, sync).remove("u0000050")
    pages = []

    def meanwhile():
        pages.append(1)
        if len(pages) == 3:
            world.fill(sync.cohort, world.users(COUNT + 5))
            world.run(sync)
        return False

    result = comparing.run_one(comparing.ask(sync, trigger=Trigger.PERSON), meanwhile)
    assert len(pages) > 3
    assert (found(result, "missing"), result.strangers, result.unknown) == ({"u0000050"}, 0, 5)


def test_who_has_left_or_was_suppressed_since_is_not_brought_back(server, sync):
    there(server, sync).difference_update({"u0000001", "u0000002", "u0000003"})
    done = compared(sync)
    world.fill(sync.cohort, [u for u in world.users(COUNT) if u != "u0000001"])
    suppression.add([suppression.Entry("user_id", "u0000002")], suppression.Said())
    run = put_right(sync, done)
    assert (run.state, run.added) == (RunState.SUCCEEDED, 1)
    assert {"u0000001", "u0000002"}.isdisjoint(there(server, sync))
    assert "u0000003" in there(server, sync)


def test_a_repair_of_many_waits_for_a_person_and_strangers_stay_unless_asked(server, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_users=10)
    there(server, sync).clear()
    there(server, sync).add("stranger")
    run = put_right(sync, compared(sync))
    assert run.state == RunState.HELD
    assert "put right 300 users; the limit is 10" in run.reason
    from syncs.lifecycle import approve

    approve(run, by="ada")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, COUNT, 0)
    assert "stranger" in there(server, sync)


def test_a_kill_between_does_no_harm(server, sync):
    """A comparison that was left is begun anew; a repair that failed leaves the sync as settled as before."""
    there(server, sync).difference_update(world.users(40))
    asked = comparing.ask(sync, trigger=Trigger.PERSON)
    stops = chain([False, False], repeat(True))
    assert comparing.run_waiting(lambda: next(stops)) == []
    asked.refresh_from_db()
    assert asked.state == CompareState.WAITING
    # Half of what a killed process has found.
    Difference.objects.create(comparison=asked, kind="missing", user_id="u0000200")
    Comparison.objects.filter(pk=asked.pk).update(state="reading", owner="m/b/0/1/1", beat_at=timezone.now())
    assert comparing.run_waiting() == []  # another machine may do it still
    from syncs.comparing import STALE

    Comparison.objects.filter(pk=asked.pk).update(beat_at=timezone.now() - 2 * STALE)
    [done] = comparing.run_waiting()
    assert found(done, "missing") == set(world.users(40))

    sync.destination.batch_size = 10
    sync.destination.save()
    server.partner.fault = lambda name: (
        Answer(403, {}) if name == "add" and server.partner.calls.count("add") > 2 else None
    )
    run = put_right(sync, done)
    assert run.state == RunState.FAILED or run.sync.destination.is_paused or run.state == RunState.PARKED
    sync.refresh_from_db()
    assert (sync.settled_version, sync.dirty) == (1, False)
    server.partner.fault = lambda name: None
    world.mend(sync.destination)
    world.go(sync.destination)
    run.refresh_from_db()
    if run.state != RunState.SUCCEEDED:
        assert put_right(sync, compared(sync)).state == RunState.SUCCEEDED
    assert there(server, sync) == world.wanted(sync)


def test_a_run_for_changes_follows_a_repair_that_stood_before_it(server, sync):
    there(server, sync).discard("u0000009")
    comparing.repair(compared(sync), trigger=Trigger.PERSON)
    world.fill(sync.cohort, world.users(COUNT + 1))
    start(sync, trigger=Trigger.SCHEDULE)
    world.go(sync.destination)
    assert list(sync.runs.order_by("pk").values_list("mode", "state"))[1:] == [
        ("repair", "succeeded"),
        ("changes", "succeeded"),
    ]
    assert there(server, sync) == world.wanted(sync)


def test_a_hashing_partner_is_compared_by_its_own_ids_and_no_stranger_is_removed_wrongly(server):
    hashing = '"${user_id|sha256}"'
    sync = filled(server, "cohort-sync", list_item_template=hashing, batch_size=50)
    held = there(server, sync)
    gone = sorted(held)[:3]
    held.difference_update(gone)
    held.add("f" * 64)
    done = compared(sync)
    assert (done.missing, done.strangers) == (3, 1)
    assert (found(done, "stranger"), found(done, "foreign")) == (set(), {"f" * 64})
    run = put_right(sync, done, remove_strangers=True)
    assert (run.added, run.removed) == (3, 0)
    assert set(gone) <= held


@pytest.fixture
def projected(server, settings, tmp_path):
    """A sync to a partner that knows people by hashed addresses, which all but the last have."""
    settings.EVENTS_DIR = tmp_path / "events"
    Workspace.objects.create(slug="shop")
    said = [Said(user, {"email": f"{user}@example.com"}, timezone.now()) for user in world.users(COUNT - 1)]
    profiles.write("shop", said)
    by_email = [{"field": "email", "filters": ["email", "sha256"]}]
    return filled(server, "cohort-sync", identifiers=by_email, profiles_workspace="shop")


def hashed(user):
    return hashlib.sha256(f"{user}@example.com".encode()).hexdigest()


@pytest.mark.parametrize("seed", range(5))
def test_a_projected_sync_is_compared_and_repaired_by_its_keys(server, projected, seed):
    chance, held = random.Random(seed), there(server, projected)
    everybody = {hashed(user) for user in world.users(COUNT - 1)}
    assert held == everybody
    assert compared(projected).by_digest
    taken = set(chance.sample(sorted(held), 7))
    held -= taken
    held |= {hashed("stranger"), "by no hash"}
    done = compared(projected)
    assert (found(done, "missing"), found(done, "stranger")) == (taken, {hashed("stranger"), "by no hash"})
    assert (done.expected, done.unknown) == (COUNT - 1, 0)
    run = put_right(projected, done, remove_strangers=True)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 7, 2)
    assert held == everybody
    assert compared(projected).by_digest


def test_who_changes_their_address_while_a_projected_list_is_read_is_unknown(server, projected):
    held, user, pages = there(server, projected), "u0000004", []
    held.discard(hashed("u0000009"))

    def meanwhile():
        pages.append(1)
        if len(pages) == 3:
            profiles.write("shop", [Said(user, {"email": "new@example.com"}, timezone.now())])
            assert world.run(Sync.objects.get(pk=projected.pk)).state == RunState.SUCCEEDED
        return False

    done = comparing.run_one(comparing.ask(projected, trigger=Trigger.PERSON), meanwhile)
    assert found(done, "missing") == {hashed("u0000009")}
    assert (done.strangers, done.unknown) == (0, 2), "the old key and the new one"
    assert put_right(projected, done).added == 1
    expected = {hashed(one) for one in world.users(COUNT - 1) if one != user}
    assert held == expected | {hashlib.sha256(b"new@example.com").hexdigest()}


def test_what_cannot_be_compared_says_why(server, sync):
    fresh = world.sync(world.cohort(["a"]), sync.destination)
    with pytest.raises(CannotRun, match="holds nobody yet"):
        comparing.ask(fresh, trigger=Trigger.PERSON)
    server.partner.lose_lists()
    done = comparing.run_one(comparing.ask(sync, trigger=Trigger.PERSON))
    assert (done.state, done.version) == (CompareState.FAILED, None)
    assert done.error
    sync.destination.read_path, sync.destination.read_places = "", {}
    sync.destination.save()
    with pytest.raises(CannotRun, match="no read call"):
        comparing.ask(sync, trigger=Trigger.PERSON)


def test_asking_twice_reads_once_and_a_schedule_asks_when_its_time_has_come(server, sync):
    assert comparing.ask(sync, trigger=Trigger.PERSON) == comparing.ask(
        sync, trigger=Trigger.API, repair=True
    )
    assert comparing.run_waiting()[0].repairs
    Sync.objects.filter(pk=sync.pk).update(compare_cron="0 6 * * 0")
    now = timezone.now()
    for moment, made in ((now, 1), (now, 1), (now + timezone.timedelta(days=8), 2)):
        comparing.ask_due(moment)
        comparing.run_waiting()
        assert sync.comparisons.filter(trigger=Trigger.SCHEDULE).count() == made
    assert due.drivable_destinations() == []


def test_a_wish_to_repair_is_followed_by_the_worker(server, sync):
    there(server, sync).discard("u0000005")
    comparing.ask(sync, trigger=Trigger.API, by="airflow", repair=True)
    [done] = comparing.run_waiting()
    run = done.repair_runs.get()
    assert (run.mode, run.trigger, run.triggered_by) == (RunMode.REPAIR, "api", "airflow")
    world.go(sync.destination)
    assert there(server, sync) == world.wanted(sync)


def test_the_command_says_who_differs_and_repairs(server, sync, capsys, tmp_path):
    there(server, sync).discard("u0000005")
    there(server, sync).add("=1+1")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            call_command("reconcile", str(sync), *words)
        return ended.value.code, capsys.readouterr().out

    file = tmp_path / "differ.csv"
    code, said = run("--csv", str(file))
    assert code == 3
    assert "1 missing, 1 strangers; the partner has 300 users" in said
    assert file.read_text().splitlines()[1:] == ["u0000005,Missing", "'=1+1,Stranger"]
    code, said = run("--repair")
    assert code == 3, "a stranger stays"
    there(server, sync).discard("u0000005")
    code, said = run("--repair", "--remove-strangers", "--json")
    answer = json.loads(said)
    assert (code, answer["missing"], answer["samples"]["stranger"]) == (0, 1, ["=1+1"])
    assert (answer["runs"][0]["added"], answer["runs"][0]["removed"]) == (1, 1)
    assert run("--json")[0] == 0


def test_its_memory_does_not_grow_with_the_list(server, sync, monkeypatch):
    """More ids than are sorted in memory lie on the disk: those of the partner here, in any order."""
    from cohorts import sorting

    monkeypatch.setattr(sorting, "CHUNK", 50)
    there(server, sync).discard("u0000005")
    assert found(compared(sync), "missing") == {"u0000005"}


def test_a_difference_that_a_schedule_finds_needs_a_person_until_it_is_put_right(server, sync):
    def need():
        chosen = Sync.objects.filter(pk=sync.pk).select_related("cohort", "destination__driver")
        [said] = facts_of(chosen, timezone.now()).values()
        found, by_query = attention.of(said), attention.with_need(chosen, timezone.now()).get().need
        assert by_query == (found.need if found else "")
        return found

    def read_back(trigger=Trigger.SCHEDULE):
        return comparing.run_one(comparing.ask(sync, trigger=trigger))

    there(server, sync).discard("u0000005")
    there(server, sync).add("x")
    read_back(Trigger.PERSON)
    assert need() is None, "whoever asked for it looks at it"
    done = read_back()
    assert need().need == "differs"
    assert "lacked 1 users and had 1 strangers: look at the comparison, and repair it." in need().sentence
    assert [alert.kind for alert in alerts.tell_changes(timezone.now())] == ["differs"]
    put_right(sync, done)
    assert need().need == "differs", "the stranger is still there"
    put_right(sync, read_back(), remove_strangers=True)
    assert need() is None
    assert [alert.kind for alert in alerts.tell_changes(timezone.now())] == ["recovered"]
    there(server, sync).discard("u0000006")
    read_back()
    assert need().need == "differs"
    there(server, sync).add("u0000006")
    read_back()
    assert need() is None


def test_the_pages_and_the_rest_api_tell_and_repair(server, sync, admin_client):
    page = f"/admin/syncs/sync/{sync.pk}/"
    shown = admin_client.get(page).content.decode()
    assert "Believed equal" in shown
    assert "Compare with the partner" in shown
    there(server, sync).discard("u0000005")
    there(server, sync).add("<b>stranger")
    api = f"/api/v1/syncs/{sync}"
    assert admin_client.get(f"{api}/comparison").status_code == 404
    admin_client.post(f"{page}do/compare/")
    comparing.run_waiting()
    shown = admin_client.get(f"{page}comparison/").content.decode()
    assert "1 missing, 1 strangers" in shown
    assert "&lt;b&gt;stranger" in shown
    assert "Put right, and remove strangers" in shown
    download = admin_client.get(f"{page}differences.csv/")
    assert "u0000005,Missing" in b"".join(download.streaming_content).decode()
    answer = admin_client.get(f"{api}/comparison").json()
    assert (answer["state"], answer["missing"], answer["samples"]["missing"]) == ("done", 1, ["u0000005"])
    rows = admin_client.get(f"{api}/comparison/differences?kind=stranger").json()
    assert rows["results"] == [{"userId": "<b>stranger", "kind": "stranger"}]
    made = admin_client.post(f"{api}/comparison/repair", {}, content_type="application/json")
    assert (made.status_code, made.json()["mode"]) == (202, "repair")
    world.go(sync.destination)
    assert "strangers stay" in admin_client.get(page).content.decode()
    admin_client.post(f"{page}do/repair-all/")
    world.go(sync.destination)
    assert there(server, sync) == world.wanted(sync)
    assert "Put right" in admin_client.get(page).content.decode()
    again = admin_client.post(f"{api}/compare", {}, content_type="application/json")
    assert (again.status_code, again.json()["state"]) == (202, "waiting")
    comparing.run_waiting()
    assert "Proven equal at" in admin_client.get(page).content.decode()
