"""A person who asks to be forgotten: gone at every partner, then from every table and file, with proof."""

import base64
import json
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cohorts import refresh
from cohorts.models import Cohort, Member
from cohortsite import forgetting
from events import uploads
from events.compact import compact
from events.models import EventFile, EventUpload, UploadState
from people import suppression, tombstones
from people.erasing import ask, certificate_of
from people.models import Erasure, ErasureState, Suppression, Tombstone
from receiving.keys import create_key
from receiving.models import Workspace
from syncs.choices import RunMode
from syncs.models import Batch, Rejection, Run
from syncs.suppressing import take_effect
from tests import remains, world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
WHO = "ada-lovelace-1815"


@pytest.fixture
def partner():
    with Partner() as running:
        yield running


@pytest.fixture(autouse=True)
def _events(settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"
    settings.EVENTS_DIR.mkdir()
    settings.EVENTS_KEEP_DAYS = 0


@pytest.fixture
def sync(partner):
    cohort = world.cohort(["bob", WHO, "zoe"])
    made = world.sync(cohort, world.destination(partner.url))
    world.run(made)
    made.refresh_from_db()
    return made


def received(path, body, slug="acme"):
    """Let a partner's call come in, and its events become files."""
    workspace, _ = Workspace.objects.get_or_create(slug=slug)
    _, key = create_key(workspace, name="k")
    basic = base64.b64encode(f"{key}:".encode()).decode()
    reply = Client().post(
        path, json.dumps(body), content_type="application/json", headers={"Authorization": f"Basic {basic}"}
    )
    assert reply.status_code == 200, reply.content
    compact(slug)


def let_replaced_files_go():
    EventFile.objects.filter(state="retired").update(retired_at=timezone.now() - timezone.timedelta(days=9))


def test_nothing_is_left_of_a_person_who_is_forgotten(sync, partner, settings):
    identify = {"type": "identify", "userId": WHO, "traits": {"plan": "gold"}, "messageId": "m1"}
    track = {"type": "track", "userId": WHO, "event": "bought", "messageId": "m2"}
    other = {"type": "track", "userId": "bob", "event": "bought", "messageId": "m3"}
    received("/batch", {"batch": [identify, track, other]})
    received("/lists", {"name": "theirs"})
    received(f"/lists/{apps.get_model('receiving.List').objects.get().pk}/add", {"userIds": [WHO, "bob"]})
    Run.objects.update(note=f"Not taken off: {WHO} and bob.")
    LogEntry.objects.create(
        user=User.objects.create_user("ann"), action_flag=ADDITION, object_repr=WHO, object_id="1"
    )
    before = remains.in_tables(WHO)
    expected = {"cohorts.Member.user_id", "receiving.UserTrait.user_id", "receiving.ListMember.user_id"}
    assert before >= expected | {"receiving.RequestLog.body", "syncs.Run.note", "admin.LogEntry.object_repr"}
    assert any("database" in found or "table" in found for found in remains.on_disk(settings.EVENTS_DIR, WHO))

    call_command("forget_user", WHO, "--reference", "ticket 7", stdout=StringIO())
    assert partner.lists[sync_list(sync)] == {"bob", "zoe"}
    erasure = Erasure.objects.get()
    let_replaced_files_go()
    assert forgetting.forget(erasure), erasure.waits

    assert remains.in_tables(WHO) == set()
    assert remains.on_disk(settings.EVENTS_DIR, WHO) == set()
    [proof] = erasure.parts["partners"]
    batch = Batch.objects.get(run=proof["run"], number=proof["batch"])
    assert (proof["status"], batch.step) == (200, "remove")
    assert erasure.parts["received"]["traits"] >= 1
    assert erasure.parts["received"]["logged calls"] == 2
    assert erasure.parts["events"]["events"] == 1
    assert erasure.parts["events"]["properties"] >= 1
    certificate = certificate_of(erasure)
    assert (certificate["state"], certificate["reference"]) == ("done", "ticket 7")
    assert certificate["held"]["cohorts"] == [sync.cohort.key]
    assert WHO not in json.dumps(certificate)
    assert remains.in_tables(WHO) == set()


def sync_list(sync):
    sync.refresh_from_db()
    return sync.list_id


def forgotten(user=WHO):
    call_command("forget_user", user, stdout=StringIO())
    let_replaced_files_go()
    erasure = Erasure.objects.latest("pk")
    forgetting.forget(erasure)
    return erasure


def test_cron_goes_on_with_an_erasure_that_was_asked_for_in_the_browser(sync, partner):
    """Without a worker: `sync_due` takes them out, runs the sync, and erases when the partner has let go."""
    ask(WHO, by="ann")
    for _ in range(2):
        Erasure.objects.update(next_at=timezone.now())
        with pytest.raises(SystemExit):
            call_command("sync_due", stdout=StringIO())
    assert partner.lists[sync_list(sync)] == {"bob", "zoe"}
    assert Erasure.objects.get().state == ErasureState.DONE and remains.in_tables(WHO) == set()


def test_no_old_file_brings_them_back(sync, partner):
    assert forgotten().state == ErasureState.DONE
    world.fill(sync.cohort, ["bob", WHO, "zoe"])
    refresh.amend(sync.cohort_id, add=[WHO, "eve"], source="test")
    world.run(sync)
    assert partner.lists[sync_list(sync)] == {"bob", "eve", "zoe"}
    assert not Member.objects.filter(user_id=WHO).exists()
    assert Cohort.objects.get(pk=sync.cohort_id).held_back == 0


@pytest.mark.parametrize("how", ["lifted", "ended"])
def test_whoever_is_taken_off_the_list_meanwhile_is_forgotten_all_the_same(sync, partner, how):
    type(sync.destination).objects.update(paused_at=timezone.now())
    assert forgotten().state == ErasureState.WAITING
    entry = suppression.entry_of("user_id", WHO)
    if how == "lifted":
        suppression.lift([entry])
    else:
        Suppression.objects.update(
            since=timezone.now() - timezone.timedelta(hours=2),
            until=timezone.now() - timezone.timedelta(hours=1),
        )
    take_effect()
    assert WHO in world.wanted(sync)
    type(sync.destination).objects.update(paused_at=None)
    Erasure.objects.update(next_at=timezone.now())
    forgetting.go_on()
    assert Suppression.objects.filter(value=WHO, reason="erasure", active=True).exists()
    assert forgotten().state == ErasureState.DONE
    assert partner.lists[sync_list(sync)] == {"bob", "zoe"}
    assert remains.in_tables(WHO) == set()


def test_it_waits_for_a_paused_destination_and_says_so(sync):
    type(sync.destination).objects.update(paused_at=timezone.now(), pause_reason="The key was refused.")
    erasure = forgotten()
    assert erasure.state == ErasureState.WAITING
    assert erasure.waits == [f"{sync}: its destination is paused: The key was refused."]
    assert Suppression.objects.filter(value=WHO, active=True).exists()
    assert Member.objects.filter(user_id=WHO).exists()
    type(sync.destination).objects.update(paused_at=None, pause_reason="")
    assert forgotten().state == ErasureState.DONE
    assert Erasure.objects.count() == 1


def test_it_waits_for_a_file_of_events_and_keeps_nothing_of_its_lines(sync):
    lines = (
        f"user_id,event,time,email\n{WHO},buy,2026-01-01,ada@example.org\nbob,buy,2026-01-01,b@example.org\n"
    )
    upload = uploads.keep("acme", "events.csv", [lines.encode()], by="operator")
    assert upload.state == UploadState.LOOKED
    erasure = forgotten()
    assert erasure.waits == [
        "Uploaded files of events are not imported; they may name them: import or discard them."
    ]
    EventUpload.objects.update(state=UploadState.IMPORTING)
    uploads.work_off("acme")
    upload.refresh_from_db()
    assert upload.state == UploadState.DONE and WHO in str(upload.look)
    assert forgotten().state == ErasureState.DONE
    upload.refresh_from_db()
    assert WHO not in f"{upload.look} {upload.said}" and "ada@" not in str(upload.look)


def test_it_waits_for_a_partner_that_does_not_let_go(sync, partner):
    def refuse(call):
        if call.kind == "remove" and WHO in call.users:
            return Fault(status=400, body={"message": f"{WHO} is locked"})
        return None

    partner.fault = refuse
    erasure = forgotten()
    assert erasure.state == ErasureState.WAITING
    assert "the partner did not take them off" in " ".join(erasure.waits)
    assert Rejection.objects.filter(user_id=WHO).exists()
    partner.fault = lambda call: None
    world.run(sync, RunMode.FULL)
    assert forgotten().state == ErasureState.DONE
    assert remains.in_tables(WHO) == set()


@pytest.mark.parametrize("change", [{"enabled": False}, {"archived_at": timezone.now()}])
def test_a_sync_that_is_off_or_archived_keeps_it_waiting(sync, change):
    type(sync).objects.update(**change)
    erasure = forgotten()
    assert erasure.state == ErasureState.WAITING
    assert "switched off" in erasure.waits[0] or "archived" in erasure.waits[0]


def test_it_waits_for_a_held_version(sync):
    Cohort.objects.update(guard_users=0)
    held = refresh.replace(sync.cohort_id, [WHO], source="test")
    erasure = forgotten()
    assert f"Version {held.number} of {sync.cohort.key} is held" in erasure.waits[0]


def test_the_list_of_suppressed_people_does_not_name_again_who_was_erased(sync):
    assert forgotten().state == ErasureState.DONE
    entries = [suppression.entry_of("user_id", one) for one in (WHO, "bob")]
    assert suppression.add(entries, suppression.Said()) == 1
    assert suppression.among([WHO, "bob"]) == {"bob"}
    assert remains.in_tables(WHO) == set()
    # Asked for once more, they are erased as before.
    assert forgotten().state == ErasureState.DONE
    assert remains.in_tables(WHO) == set()


def test_who_is_killed_between_two_workspaces_loses_no_count(sync, monkeypatch):
    for workspace in ("acme", "beta"):
        track = {"type": "track", "userId": WHO, "event": "bought", "messageId": f"m-{workspace}"}
        received("/track", track, workspace)
    ask(WHO, by="ann")
    take_effect()
    world.go(sync.destination)

    def die(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        # Published, and not written down.
        during.setattr("events.correct.remove_soon", die)
        with pytest.raises(KeyboardInterrupt):
            forgetting.go_on()
    assert "events" not in Erasure.objects.get().parts
    # The first waits for replaced files; the second, which does each part again, counts nothing twice.
    for state in (ErasureState.WAITING, ErasureState.DONE):
        let_replaced_files_go()
        Erasure.objects.update(next_at=timezone.now())
        forgetting.go_on()
        erasure = Erasure.objects.get()
        assert (erasure.state, erasure.parts["events"]["events"]) == (state, 2), erasure.waits


@pytest.mark.parametrize("dies_at", list(forgetting.PARTS))
def test_whoever_is_killed_in_between_is_followed_by_the_next(sync, monkeypatch, dies_at):
    ask(WHO, by="ann")
    take_effect()
    world.go(sync.destination)
    part = forgetting.PARTS[dies_at]

    def die(erasure):
        part(erasure)
        raise KeyboardInterrupt

    monkeypatch.setitem(forgetting.PARTS, dies_at, die)
    with pytest.raises(KeyboardInterrupt):
        forgetting.go_on()
    monkeypatch.setitem(forgetting.PARTS, dies_at, part)
    Erasure.objects.update(next_at=timezone.now())
    [erasure] = forgetting.go_on()
    assert erasure.state == ErasureState.DONE
    assert erasure.parts["partners"][0]["status"] == 200
    assert remains.in_tables(WHO) == set()


def test_an_erasure_takes_no_other_person_along(sync):
    world.fill(sync.cohort, ["1", "12", "a-1", "bob"])
    world.run(sync)
    Run.objects.update(note="Named: 1, 12 and a-1.")
    forgotten("1")
    assert world.wanted(sync) == {"12", "a-1", "bob"}
    assert Run.objects.last().note == "Named: (erased), 12 and a-1."


def test_the_key_of_tombstones_is_rotated_and_its_loss_stops_refreshes(sync, settings):
    from cryptography.fernet import Fernet

    forgotten()
    new = Fernet.generate_key().decode()
    settings.FIELD_KEYS = [new, *settings.FIELD_KEYS]
    call_command("rotate_keys", stdout=StringIO())
    settings.FIELD_KEYS = [new]
    assert tombstones.Tombstones().among([WHO, "bob"]) == {WHO}
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(tombstones.Unreadable, match="cannot be read with any of FIELD_KEYS"):
        world.fill(sync.cohort, [WHO])


def test_the_command_says_what_it_waits_for_and_prints_the_certificate(sync):
    type(sync.destination).objects.update(paused_at=timezone.now())
    out = StringIO()
    call_command("forget_user", WHO, stdout=out)
    assert "waits. " in out.getvalue()
    type(sync.destination).objects.update(paused_at=None)
    out = StringIO()
    call_command("forget_user", stdout=out)
    assert "done" in out.getvalue()
    number = Erasure.objects.get().pk
    out = StringIO()
    call_command("forget_user", certificate=number, stdout=out)
    assert json.loads(out.getvalue())["state"] == "done"
    with pytest.raises(CommandError, match="no erasure 99"):
        call_command("forget_user", certificate=99)
    with pytest.raises(CommandError, match="is blank"):
        call_command("forget_user", " ")


def test_the_admin_and_the_rest_api_ask_for_it_and_hand_the_certificate_out(client):
    client.force_login(User.objects.create_superuser("ann"))
    page = reverse("admin:people_erasure_add")
    assert client.get(page).status_code == 200
    unsure = client.post(page, {"user_id": WHO})
    assert "This field is required" in unsure.content.decode()
    assert not Erasure.objects.exists()
    done = client.post(page, {"user_id": WHO, "reference": "ticket 7", "sure": "on"}, follow=True)
    assert "They are suppressed" in done.content.decode()
    erasure = Erasure.objects.get()
    assert (erasure.asked_by, erasure.user_id) == ("ann", WHO)
    assert client.get(reverse("admin:people_erasure_changelist")).status_code == 200
    certificate = client.get(reverse("admin:people_erasure_certificate", args=[erasure.pk]))
    assert certificate.headers["Content-Disposition"].endswith(f'"erasure-{erasure.pk}.json"')

    def call(body):
        return client.post("/api/v1/erasures", json.dumps(body), content_type="application/json")

    again = call({"userId": WHO})
    assert (again.status_code, again.json()["id"]) == (202, erasure.pk)
    assert client.get(f"/api/v1/erasures/{erasure.pk}").json()["state"] == "waiting"
    assert client.get("/api/v1/erasures/999").status_code == 404
    for wrong in ({}, {"userId": ""}, {"userId": "a\0"}, {"userId": 7.5}, {"userId": "\ud800"}, [WHO]):
        assert call(wrong).status_code == 400, wrong
    [finished] = forgetting.go_on()
    assert finished.state == ErasureState.DONE
    assert Tombstone.objects.count() == 1
    assert remains.in_tables(WHO) == set()


def test_all_that_is_known_of_a_person_is_one_download(sync, client):
    identify = {"type": "identify", "userId": WHO, "traits": {"plan": "gold"}, "messageId": "m1"}
    track = {"type": "track", "userId": WHO, "event": "bought", "properties": {"Price": 7}, "messageId": "m2"}
    other = {"type": "track", "userId": "bob", "event": "sold", "messageId": "m3"}
    received("/batch", {"batch": [identify, track, other]})
    client.force_login(User.objects.create_superuser("ann"))
    page = client.get("/admin/where/", {"user": WHO}).content.decode()
    assert f"/admin/where/download/?user={WHO}" in page
    reply = client.get("/admin/where/download/", {"user": WHO})
    assert reply.headers["Content-Disposition"] == 'attachment; filename="person.json"'
    known = reply.json()
    [cohort] = known["cohorts"]
    assert (cohort["cohort"], cohort["is_in"], cohort["versions"]) == (
        sync.cohort.key, True, [{"entered": 1, "left": None}],
    )  # fmt: skip
    assert cohort["destinations"][0]["sync"] == str(sync)
    [event] = known["events"]["acme"]["events"]
    assert (event["event"], event["properties"]) == ("bought", {"Price": "7"})
    [plan] = known["events"]["acme"]["properties"]
    assert (plan["name"], plan["value"]) == ("plan", "gold")
    [workspace] = known["received"]
    assert (workspace["workspace"], workspace["traits"]["plan"], len(workspace["calls"])) == (
        "acme",
        "gold",
        1,
    )
    assert "sold" not in reply.content.decode()
    nobody = client.get("/admin/where/download/", {"user": "nobody"}).json()
    assert (nobody["cohorts"], nobody["events"]["acme"]["events"]) == ([], [])
    assert client.get("/admin/where/download/", {"user": ""}).status_code == 400


def test_an_answer_that_would_not_be_whole_is_none(sync, client, settings):
    received("/track", {"type": "track", "userId": WHO, "event": "bought", "messageId": "m2"})
    for file in (settings.EVENTS_DIR / "acme" / "files").iterdir():
        file.unlink()
    client.force_login(User.objects.create_superuser("ann"))
    assert client.get("/admin/where/download/", {"user": WHO}).status_code == 503


def test_who_may_only_look_up_a_user_downloads_nothing(client):
    viewer = User.objects.create_user("vic", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_cohort"))
    client.force_login(viewer)
    assert "where/download" not in client.get("/admin/where/", {"user": WHO}).content.decode()
    assert client.get("/admin/where/download/", {"user": WHO}).status_code == 403
