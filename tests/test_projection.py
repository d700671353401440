"""What a partner holds that knows people by something else than our user id is exact, whatever changes."""

import hashlib
import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohorts import members
from cohorts.models import Cohort, Member
from cohortsite import forgetting
from destinations.known import traits_of
from destinations.models import Destination
from people import profiles, suppression
from people.erasing import ask, certificate_of
from people.identifiers import Kind
from people.models import Erasure
from people.profiles import Said
from people.suppression import entry_of
from receiving.models import Trait, UserTrait, Workspace
from syncs import lifecycle, links, projecting
from syncs.choices import RunMode, RunState
from syncs.delivery import loop
from syncs.models import Batch, Link, Rejection, Sync
from syncs.preview import preview
from syncs.prune import prune
from syncs.suppressing import take_effect
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
BY_EMAIL = [{"field": "email", "filters": ["email", "sha256"]}]


@pytest.fixture(autouse=True)
def shop(settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"
    settings.EVENTS_KEEP_DAYS = 0
    return Workspace.objects.create(slug="shop")


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def say(**of_users):
    """Say fields of users: say(u1={"email": "a@b.example"})."""
    now = timezone.now()
    profiles.write("shop", [Said(user, fields, now) for user, fields in of_users.items()])


def mails(*users: str) -> None:
    say(**{user: {"email": f"{user}@example.com"} for user in users})


def setup(partner, user_ids, **fields) -> Sync:
    values = {"identifiers": BY_EMAIL, "profiles_workspace": "shop", **fields}
    return world.sync(world.cohort(user_ids), world.destination(partner.url, **values))


def held(partner, sync) -> set[str]:
    sync.refresh_from_db()
    return set(partner.members(world.name_at_partner(sync)))


def keys(*users: str) -> set[str]:
    return {hashed(f"{user}@example.com") for user in users}


def change(sync, **fields) -> None:
    Destination.objects.filter(pk=sync.destination_id).update(**fields)
    sync.refresh_from_db()


def long_ago() -> None:
    """Let what was written be of long ago: what is of the last two minutes is looked at twice."""
    Trait.objects.exclude(watched_at=None).update(watched_at=F("watched_at") - 600_000_000)
    UserTrait.objects.exclude(changed_at=None).update(changed_at=F("changed_at") - 600_000_000)


def run(sync, mode=RunMode.CHANGES, **counts):
    done = world.run(Sync.objects.get(pk=sync.pk), mode)
    assert done.state == RunState.SUCCEEDED, done.reason
    for name, number in counts.items():
        assert getattr(done, name) == number, name
    return done


def test_a_partner_is_sent_what_it_knows_people_by_and_who_is_not_sendable_is_counted(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2", "u3"])
    run(sync, added=2)
    assert held(partner, sync) == keys("u1", "u2")
    assert (sync.projection.held_back, sync.projection.size) == (1, 2)
    assert list(members.in_version(members.held_back_of(sync.projection_id), sync.projection.version)) == [
        "u3"
    ]
    assert preview(sync).not_sendable == 1
    # With an address she is sendable, and another run sends nobody else.
    mails("u3")
    run(sync, added=1, removed=0)
    assert held(partner, sync) == keys("u1", "u2", "u3")
    assert preview(Sync.objects.get(pk=sync.pk)).not_sendable == 0


def test_another_address_takes_the_old_one_off_and_puts_the_new_one_on(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"])
    run(sync)
    say(u1={"email": "ada@example.com"})
    run(sync, added=1, removed=1)
    assert held(partner, sync) == {hashed("ada@example.com")} | keys("u2")
    say(u1={"email": None})
    run(sync, added=0, removed=1)
    assert held(partner, sync) == keys("u2")
    run(sync, added=0, removed=0)


def test_two_people_with_one_address_are_there_as_long_as_one_of_them_is(partner):
    say(u1={"email": "both@example.com"}, u2={"email": "both@example.com"})
    sync = setup(partner, ["u1", "u2"])
    run(sync, added=1)
    world.fill(sync.cohort, ["u2"])
    run(sync, added=0, removed=0)
    assert held(partner, sync) == {hashed("both@example.com")}
    say(u2={"email": "other@example.com"})
    run(sync, added=1, removed=1)
    world.fill(sync.cohort, [])
    run(sync, removed=1)
    assert held(partner, sync) == set()


def test_an_address_that_goes_over_to_somebody_else_in_one_version_stays(partner):
    mails("u1")
    sync = setup(partner, ["u1", "u2"])
    run(sync, added=1)
    say(u1={"email": "new@example.com"}, u2={"email": "u1@example.com"})
    run(sync)
    assert held(partner, sync) == keys("u1") | {hashed("new@example.com")}


def test_what_goes_along_is_sent_and_sent_again_when_it_changes(partner):
    mails("u1", "u2")
    say(u1={"plan": "pro"}, u2={"plan": "free"})
    sync = setup(
        partner, ["u1", "u2"],
        preset="amplitude-property", traits=[{"field": "plan", "as": "tier"}],
        item_template='{"userId": "$user_id", "kind": "$identifier_type", "traits": '
        '{"$external_name": "$value", "tier": "$trait_tier"}, "all": "$traits"}',
    )  # fmt: skip
    sent: list[dict] = []

    def note(call):
        sent.extend(call.body.get("batch", []))

    partner.fault = note
    run(sync, added=2)
    one = next(item for item in sent if item["userId"] in keys("u1"))
    assert (one["kind"], one["traits"]["tier"], one["all"]) == ("email", "pro", {"tier": "pro"})
    sent.clear()
    say(u1={"plan": "team"})
    run(sync, added=1, removed=0)
    assert [(item["userId"], item["traits"]["tier"]) for item in sent] == [(*keys("u1"), "team")]
    # A field that does not go along is nobody's business there.
    say(u1={"city": "Rom"})
    run(sync, added=0, removed=0)


def test_another_mapping_is_a_difference_and_nobody_is_stranded(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2", "u3"], identifiers=[])
    run(sync, added=3)
    assert held(partner, sync) == {"u1", "u2", "u3"}
    change(sync, identifiers=BY_EMAIL)
    run(sync, added=2, removed=3)
    assert held(partner, sync) == keys("u1", "u2")
    change(sync, identifiers=[*BY_EMAIL, {"field": "user_id"}])
    run(sync, added=1, removed=0)
    assert held(partner, sync) == keys("u1", "u2") | {"u3"}
    change(sync, identifiers=[])
    run(sync, added=2, removed=2)
    assert held(partner, sync) == {"u1", "u2", "u3"}


def test_another_mapping_is_asked_for_like_any_large_change(partner):
    everybody = world.users(120)
    mails(*everybody)
    sync = setup(partner, everybody)
    Sync.objects.filter(pk=sync.pk).update(hold_if_halved=True)
    run(sync, added=120)
    change(sync, identifiers=[{"field": "email", "filters": ["email"]}])
    held_run = world.run(Sync.objects.get(pk=sync.pk))
    assert (held_run.state, held_run.planned_removes) == (RunState.HELD, 120)
    assert "half of them or more" in held_run.reason
    lifecycle.approve(held_run, by="ada")
    world.go(sync.destination)
    assert held(partner, sync) == {f"{user}@example.com" for user in everybody}


def test_a_mapping_that_comes_while_a_run_has_failed_half_way_strands_nobody(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"], identifiers=[], batch_size=1, threads=1)
    seen: list[str] = []

    def second_is_refused(call):
        seen.extend(call.users)
        return Fault(401) if call.kind == "add" and len(seen) > 1 else None

    partner.fault = second_is_refused
    assert world.run(sync).state != RunState.SUCCEEDED
    assert held(partner, sync) == {"u1"}
    partner.fault = lambda call: None
    # Where the text stays the same, the user who was not sent yet must be.
    world.mend(sync.destination)
    Sync.objects.get(pk=sync.pk).runs.update(state=RunState.FAILED)
    change(sync, identifiers=[{"field": "user_id"}])
    run(sync)
    assert held(partner, sync) == {"u1", "u2"}
    change(sync, identifiers=BY_EMAIL)
    run(sync, added=2, removed=2)
    assert held(partner, sync) == keys("u1", "u2")


def test_all_identifiers_are_sent_where_that_is_said(partner):
    say(u1={"email": "u1@example.com", "device": ["d1", "d2"]}, u2={"device": "d2"})
    both = [*BY_EMAIL, {"field": "device"}]
    sync = setup(partner, ["u1", "u2"], identifiers=both, identifiers_sent="all")
    run(sync, added=3)
    assert held(partner, sync) == keys("u1") | {"d1", "d2"}
    say(u1={"device": ["d1"]})
    run(sync, added=0, removed=0)
    say(u2={"device": None})
    run(sync, added=0, removed=1)
    change(sync, identifiers_sent="first")
    run(sync, removed=1)
    assert held(partner, sync) == keys("u1")


def test_who_is_suppressed_by_an_address_leaves_though_their_id_is_another(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"])
    run(sync)
    suppression.add([entry_of(Kind.EMAIL, "U1@example.com")], suppression.Said())
    run(sync, removed=1)
    assert held(partner, sync) == keys("u2")
    suppression.add([entry_of(Kind.USER_ID, "u2")], suppression.Said())
    run(sync, removed=1)
    assert held(partner, sync) == set()
    suppression.lift([entry_of(Kind.EMAIL, "u1@example.com")], at_once=True)
    [asked] = take_effect()
    world.go(sync.destination)
    asked.refresh_from_db()
    assert (asked.state, asked.added) == (RunState.SUCCEEDED, 1)
    assert held(partner, sync) == keys("u1")


def test_without_consent_nobody_is_sent(partner):
    mails("u1", "u2", "u3")
    say(u1={"consent.marketing": True}, u2={"consent.marketing": False})
    sync = setup(partner, ["u1", "u2", "u3"], consent_field="consent.marketing")
    run(sync, added=1)
    assert held(partner, sync) == keys("u1")
    say(u1={"consent.marketing": False}, u3={"consent.marketing": True})
    run(sync, added=1, removed=1)
    assert held(partner, sync) == keys("u3")


def test_a_rejected_key_is_tried_again_by_itself(partner):
    mails("u1", "u2", "u3")
    bad = next(iter(keys("u2")))
    partner.fault = lambda call: Fault(400) if bad in call.users else None
    sync = setup(partner, ["u1", "u2", "u3"])
    assert world.run(sync).state == RunState.PARTIAL
    assert world.rejected(sync) == {bad}
    assert held(partner, sync) == keys("u1", "u3")
    say(u2={"email": "right@example.com"})
    run(sync, added=1)
    assert held(partner, sync) == keys("u1", "u3") | {hashed("right@example.com")}
    assert world.rejected(sync) == set()


def test_a_refresh_that_dies_leaves_nothing_behind(partner, monkeypatch):
    mails("u1", "u2", "u3")
    sync = setup(partner, ["u1", "u2"])
    run(sync)
    say(u1={"email": "new@example.com"})
    world.fill(sync.cohort, ["u1", "u3"])
    before = list(Link.objects.values_list("user_id", "key", "left_version"))
    written = links.write
    calls: list[int] = []

    def dies_at_the_second(*arguments):
        written(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(projecting, "BLOCK", 1)
    monkeypatch.setattr(links, "write", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        projecting.bring_up_to_date(Sync.objects.get(pk=sync.pk))
    monkeypatch.undo()
    assert list(Link.objects.values_list("user_id", "key", "left_version")) != before
    run(sync, added=2, removed=2)
    assert held(partner, sync) == {hashed("new@example.com")} | keys("u3")


def test_a_refresh_that_lost_its_claim_takes_nothing_of_its_successors(partner, monkeypatch):
    """It was frozen before it cleaned up; meanwhile another one has begun to write the same version."""
    mails("u1", "u2")
    sync = setup(partner, ["u1"])
    run(sync)
    say(u1={"email": "new@example.com"})
    projection = Sync.objects.get(pk=sync.pk).projection
    theirs = {"projection_id": projection.pk, "user_id": "u2", "key": "k", "entered_version": 9}
    real = projecting._Making.make

    def thawed(making, claim):
        Cohort.every.filter(pk=projection.pk).update(claim_fence=F("claim_fence") + 1)
        Link.objects.create(**theirs, type="email", traits="")
        return real(making, claim)

    monkeypatch.setattr(projecting._Making, "make", thawed)
    with pytest.raises(projecting.CannotProject, match="taken over"):
        projecting.bring_up_to_date(Sync.objects.get(pk=sync.pk))
    assert Link.objects.filter(**theirs).exists()


def test_old_versions_go_and_what_is_needed_stays(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"])
    run(sync)
    for number in range(3):
        say(u1={"email": f"{number}@example.com"})
        run(sync)
    assert Link.objects.count() == 5
    prune(before=timezone.now())
    assert Link.objects.count() == 2
    say(u1={"email": "last@example.com"})
    run(sync, added=1, removed=1)
    assert held(partner, sync) == {hashed("last@example.com")} | keys("u2")


def test_a_projection_is_on_no_list_of_cohorts(partner):
    mails("u1")
    sync = setup(partner, ["u1"])
    run(sync)
    assert list(Cohort.objects.all()) == [sync.cohort]
    assert Cohort.every.count() == 2


def test_a_workspace_that_there_is_not_fails_the_run_with_a_sentence(partner):
    sync = setup(partner, ["u1"], profiles_workspace="none")
    done = world.run(sync)
    assert (done.state, done.reason) == (RunState.FAILED, "There is no workspace 'none'.")
    assert held(partner, sync) == set()


def test_an_erased_person_is_nowhere_by_what_a_partner_knew_them_by(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"])
    run(sync)
    gone = next(iter(keys("u1")))
    erasure = ask("u1", by="ada")
    forgetting.go_on()
    erasure.refresh_from_db()
    assert any("its next run takes them off" in said for said in erasure.waits), erasure.waits
    run(sync, removed=1)
    assert held(partner, sync) == keys("u2")
    Erasure.objects.update(next_at=timezone.now())
    forgetting.go_on()
    erasure.refresh_from_db()
    # All is gone but for files of events that a query might be reading still.
    assert all("Files of events" in said for said in erasure.waits), erasure.waits
    assert certificate_of(erasure)["done"]["partners"][0]["status"] == 200
    for model in (Member, Link, Batch, Rejection):
        assert gone not in str(list(model.objects.values_list())), model
    assert Link.objects.count() == 1


def test_the_certificate_has_the_batch_though_somebody_was_known_by_one_thing_after_the_other(partner):
    mails("u1", "u2", "u3")
    sync = setup(partner, ["u1", "u2", "u3"])
    run(sync, added=3)
    say(u1={"email": "shared@example.com"}, u2={"email": "shared@example.com"})
    took_off = run(sync, added=1, removed=2)
    assert proof_of(sync, "u1")["run"] == took_off.pk
    assert held(partner, sync) == {hashed("shared@example.com"), *keys("u3")}


def test_the_certificate_says_that_an_address_stays_as_somebody_elses(partner):
    say(u1={"email": "shared@example.com"}, u2={"email": "shared@example.com"})
    sync = setup(partner, ["u1", "u2"])
    run(sync, added=1)
    assert "somebody else's, too" in proof_of(sync, "u1")["removed"]


def proof_of(sync, user_id):
    """Forget a person, and return what the certificate says of the one partner."""
    erasure = ask(user_id, by="ann")
    take_effect()
    world.go(sync.destination)
    forgetting.go_on()
    erasure.refresh_from_db()
    assert all("Files of events" in said for said in erasure.waits), erasure.waits
    return certificate_of(erasure)["done"]["partners"][0]


def test_pages_and_a_dry_run_say_who_is_not_sendable_and_why(partner, admin_client):
    mails("u1")
    say(u2={"email": "u2 at example.com"})
    sync = setup(partner, ["u1", "u2", "u3", "u4"])
    out = StringIO()
    call_command("sync", str(sync), "--dry-run", "--json", stdout=out)
    shown = json.loads(out.getvalue())[0]
    assert (shown["adds"], shown["not_sendable"]) == (1, 3)
    assert not partner.lists
    run(sync, added=1)
    page = admin_client.get(f"/admin/syncs/sync/{sync.pk}/").content.decode()
    assert "25.0 % of 4 members" in page
    assert "3\n" in page and "not sendable" in page
    listed = admin_client.get(f"/admin/syncs/sync/{sync.pk}/not-sendable/").content.decode()
    assert "email has no @" in listed and "there is no email" in listed
    assert ">u1<" not in listed
    dry = admin_client.get(f"/admin/syncs/sync/{sync.pk}/dry-run/").content.decode()
    assert "Not sendable" in dry


def test_what_a_change_costs_does_not_grow_with_the_cohort(partner):
    """Statements and written rows after a change of ten addresses, at 300 and at 3,000 members."""

    def cost(count, block):
        users = world.users(count, first=block)
        mails(*users)
        sync = setup(partner, users)
        run(sync, added=count)
        long_ago()
        projecting.bring_up_to_date(Sync.objects.get(pk=sync.pk))
        say(**{user: {"email": f"new-{user}@example.com"} for user in users[:10]})
        with CaptureQueriesContext(connection) as caught:
            projecting.bring_up_to_date(Sync.objects.get(pk=sync.pk))
        sync.refresh_from_db()
        version = sync.projection.version
        written = Member.objects.filter(cohort=sync.projection_id)
        moved = written.filter(entered_version=version).count(), written.filter(left_version=version).count()
        links_written = Link.objects.filter(projection_id=sync.projection_id, entered_version=version).count()
        assert moved == (10, 10) and links_written == 10
        return len(caught)

    assert cost(300, 0) == cost(3_000, 10_000)


def test_a_run_before_which_nothing_changed_claims_no_projection(partner):
    mails("u1", "u2")
    sync = setup(partner, ["u1", "u2"])
    run(sync, added=2)
    long_ago()
    projecting.bring_up_to_date(sync)
    sync.refresh_from_db()

    def claims() -> int:
        return Cohort.every.values_list("claim_fence", flat=True).get(pk=sync.projection_id)

    before = claims()
    run(sync, added=0, removed=0)
    assert claims() == before
    # The same people in another version: the projection is of that one now.
    world.fill(sync.cohort, ["u1", "u2", "u3"])
    world.fill(sync.cohort, ["u1", "u2"])
    run(sync, added=0, removed=0)
    assert claims() == before + 1
    mails("u2")
    say(u1={"email": "other@example.com"})
    run(sync, added=1, removed=1)
    assert claims() == before + 2
    suppression.add([entry_of(Kind.EMAIL, "u2@example.com")], suppression.Said())
    run(sync, added=0, removed=1)
    assert claims() == before + 3


def test_a_run_begins_when_its_projection_is_made_and_not_at_the_next_look(partner, monkeypatch):
    monkeypatch.setattr(loop, "LOOK_EVERY", 3600.0)
    mails("u1")
    run(setup(partner, ["u1"]), added=1)


def test_the_first_who_has_a_key_speaks_for_it_whatever_the_order(partner):
    """Two people with one address, in blocks of their own: what goes along is the first's by user id."""
    sync = setup(
        partner, ["u2"], traits=[{"field": "plan"}], list_item_template='["$user_id", "$trait_plan"]'
    )
    say(**{user: {"email": "one@example.com", "plan": user} for user in ("u1", "u2", "u3")})

    def plans() -> list[str]:
        sync.refresh_from_db()
        return [
            traits_of(along)["plan"]
            for along in links.known(sync.projection_id, sync.projection.version, [key])
        ]

    key = hashed("one@example.com")
    run(sync, added=1)
    assert plans() == ["u2"]
    # Who comes later in the order says nothing new; who comes before speaks from now on.
    world.fill(sync.cohort, ["u2", "u3"])
    run(sync, added=0)
    assert plans() == ["u2"]
    world.fill(sync.cohort, ["u1", "u2", "u3"])
    run(sync, added=1)
    assert plans() == ["u1"]
    world.fill(sync.cohort, ["u3"])
    run(sync, added=1)
    assert plans() == ["u3"]
    world.fill(sync.cohort, [])
    run(sync, removed=1)


# Its fields (2), who has these keys (1), and a transaction that renews the claim and writes links and keys.
STATEMENTS_A_BLOCK = {"sqlite": 8, "postgresql": 8}


def test_what_a_block_of_a_first_projection_costs(partner, monkeypatch):
    monkeypatch.setattr(projecting, "BLOCK", 2)

    def cost(blocks: int, first: int) -> int:
        users = world.users(2 * blocks, first=first)
        mails(*users)
        sync = setup(partner, users)
        with CaptureQueriesContext(connection) as caught:
            projecting.bring_up_to_date(sync)
        sync.refresh_from_db()
        assert sync.projection and sync.projection.size == 2 * blocks
        return len(caught)

    cost(1, 0)  # its fields are watched from now on
    assert cost(12, 1_000) - cost(2, 100) == 10 * STATEMENTS_A_BLOCK[connection.vendor]
