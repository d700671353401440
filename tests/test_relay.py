"""What a workspace receives is a cohort here, and goes on to another partner: the two halves as one."""

import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from cohorts import calculate, following, received, refresh
from cohorts.choices import ScheduleKind, SourceKind, VersionState
from cohorts.models import Cohort
from cohortsite import apply, config
from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from destinations.presets import PRESETS
from receiving import store
from receiving.keys import create_key
from receiving.models import List, RequestLog, Workspace
from receiving.tests.posted import post
from syncs import due, lifecycle
from syncs.choices import RunState, Trigger
from syncs.delivery.slots import drive_runs
from syncs.models import Run, Sync
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(settings: Any, tmp_path: Path) -> str:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.OUTBOUND_ALLOW_NETS = ["127.0.0.0/8"]
    following._Look.at = -following.LOOK_ANYWAY  # of another test's database
    return create_key(Workspace.objects.create(slug="acme"))[1]


def new_list(key: str, *user_ids: str) -> str:
    number = str(post(key, "/lists", {"name": "[Amplitude] Buyers"}).json()["listId"])
    if user_ids:
        add(key, number, *user_ids)
    return number


def add(key: str, number: str, *user_ids: str, verb: str = "add") -> None:
    reply = post(key, f"/lists/{number}/{verb}", {"userIds": list(user_ids)})
    assert reply.status_code == 200, reply.content


def follower(number: str = "", **values: Any) -> Cohort:
    cohort = world.cohort(
        source_kind=SourceKind.RECEIVED, received_workspace="acme", received_list=number,
        schedule_kind=ScheduleKind.CHANGES, **values,
    )  # fmt: skip
    cohort.full_clean()
    return cohort


def later(seconds: float = 3) -> Any:
    """A moment at which what came before has rested."""
    return timezone.now() + timedelta(seconds=seconds)


def pass_time(**by: float) -> None:
    """Let what is in the log, and what is known of it, have happened earlier."""
    RequestLog.objects.update(received_at=F("received_at") - timedelta(**by))


def members_of(cohort: Cohort) -> set[str]:
    cohort.refresh_from_db()
    return world.members_at(Sync(cohort=cohort, cohort_id=cohort.pk), cohort.version)


def test_a_list_that_is_received_goes_on_to_another_partner(key: str) -> None:
    number = new_list(key, "u1", "u2", "ü 3")
    cohort = follower(number)
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        Sync.objects.update(schedule_kind=ScheduleKind.CHANGES)

        def relay() -> None:
            now = later()
            calculate.calculate_due(now)
            drive_runs(due.start_due(timezone.now()), stop=threading.Event())
            sync.refresh_from_db()

        relay()
        assert partner.members(world.name_at_partner(sync)) == {"u1", "u2", "ü 3"}
        add(key, number, "u2", verb="remove")
        add(key, number, "u4")
        relay()
        assert partner.members(world.name_at_partner(sync)) == {"u1", "ü 3", "u4"}
        assert [run.planned for run in Run.objects.order_by("pk")] == [3, 2]
        relay()
        assert Run.objects.count() == 2


def test_a_burst_of_calls_makes_one_version(key: str) -> None:
    number = new_list(key)
    cohort = follower(number)
    for n in range(100):
        add(key, number, f"u{n:03}")
        calculate.calculate_due(timezone.now())
    assert cohort.versions.count() == 0
    calculate.calculate_due(later())
    assert len(members_of(cohort)) == 100 and cohort.versions.count() == 1


def test_a_burst_that_does_not_end_is_followed_all_the_same(key: str) -> None:
    number = new_list(key, "u1")
    cohort = follower(number)
    pass_time(seconds=16)
    add(key, number, "u2")
    calculate.calculate_due(timezone.now())
    assert members_of(cohort) == {"u1", "u2"}


def test_calls_that_move_nobody_make_no_version(key: str) -> None:
    number = new_list(key, "u1", "u2")
    cohort = follower(number)
    calculate.calculate_due(later())
    add(key, number, "u3")
    add(key, number, "u3", verb="remove")
    calculate.calculate_due(later())
    assert cohort.versions.count() == 1 and members_of(cohort) == {"u1", "u2"}
    calculate.calculate_due(later(20))
    assert cohort.versions.count() == 1


def test_a_call_that_commits_after_a_later_one_is_not_missed(key: str) -> None:
    """Calls are numbered before they commit: the highest number that was seen proves nothing."""
    number = new_list(key, "u1")
    cohort = follower(number)
    entry = RequestLog.objects.latest("pk")
    add(key, number, "u2")
    late = RequestLog.objects.latest("pk")
    set_id = List.objects.get(pk=number).member_set_id
    # The second call is not committed yet, and its number lies below one that is.
    RequestLog.objects.filter(pk=late.pk).delete()
    with transaction.atomic():
        store.remove_members(set_id, ["u2"])
    entry.pk = late.pk + 10
    entry.save(force_insert=True)
    calculate.calculate_due(later())
    assert members_of(cohort) == {"u1"}
    with transaction.atomic():
        store.add_members(set_id, ["u2"])
    late.save(force_insert=True)
    following._Look.at = -following.LOOK_ANYWAY
    calculate.calculate_due(later())
    assert members_of(cohort) == {"u1", "u2"}


def test_a_mark_moves_on_and_nothing_is_missed_meanwhile(key: str) -> None:
    number = new_list(key, "u1")
    cohort = follower(number)
    calculate.calculate_due(later())
    cohort.refresh_from_db()
    pass_time(minutes=20)
    old = (timezone.now() - timedelta(minutes=22)).isoformat()
    Cohort.objects.update(received_mark=cohort.received_mark | {"since": old})
    following._Look.at = -following.LOOK_ANYWAY
    assert following.following(timezone.now()) == []
    cohort.refresh_from_db()
    assert cohort.received_mark["since"] > old and cohort.received_mark["calls"] == 0
    add(key, number, "u2")
    calculate.calculate_due(later())
    assert members_of(cohort) == {"u1", "u2"}


def test_a_replacement_that_is_half_through_is_never_published(key: str) -> None:
    def page(number: int, *user_ids: str) -> None:
        document = {
            "action": "members",
            "parameters": {
                "mixpanel_cohort_id": "7", "mixpanel_cohort_name": "Mix", "mixpanel_project_id": "1",
                "mixpanel_session_id": "s2", "page_info": {"total_pages": 2, "page_count": number},
                "members": [{"mixpanel_distinct_id": user_id} for user_id in user_ids],
            },
        }  # fmt: skip
        assert post(key, "/mixpanel", document).status_code == 200

    number = new_list(key, "a", "b", "c")
    List.objects.filter(pk=number).update(origin="mixpanel 1 7")
    cohort = follower(str(number))
    calculate.calculate_due(later())
    page(1, "b")
    found = List.objects.order_by("pk").last()
    assert found is not None
    calculate.calculate_due(later())
    assert members_of(cohort) == {"a", "b", "c"}
    page(2, "d")
    Cohort.objects.update(received_list=str(List.objects.latest("pk").pk))
    calculate.calculate_due(later())
    assert members_of(cohort) == {"b", "d"}


def test_a_list_that_is_exchanged_while_it_is_read_is_read_again(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = new_list(key, "u1", "u2")
    cohort = follower(number)
    offer = received.offered()
    times: list[int] = []
    read = type(offer).members

    def members(self: Any, source: Any) -> Any:
        for user_id in read(self, source):
            yield user_id
            if not times:
                times.append(1)
                store.drain_list(List.objects.get(pk=number))
                add(key, number, "u9")

    monkeypatch.setattr(type(offer), "members", members)
    calculate.calculate_due(later())
    assert members_of(cohort) == {"u9"}
    assert cohort.versions.filter(state=VersionState.PUBLISHED).count() == 1
    assert cohort.calculation_error == ""


def test_users_who_hold_a_trait_are_a_cohort_too(key: str) -> None:
    def say(user: str, value: Any) -> None:
        traits = {"[Amplitude] Buyers: 12": value, "plan": "pro" if value else "free"}
        assert post(key, "/identify", {"userId": user, "traits": traits}).status_code == 200

    say("u1", True)
    say("u2", False)
    buyers = follower(received_trait="[Amplitude] Buyers: 12")
    pro = follower(received_trait="plan", received_equals="pro")
    calculate.calculate_due(later())
    assert members_of(buyers) == members_of(pro) == {"u1"}
    say("u1", False)
    say("u2", True)
    calculate.calculate_due(later())
    assert members_of(buyers) == members_of(pro) == {"u2"}


def test_guards_hold_what_is_received_and_it_is_followed_again_after_the_decision(key: str) -> None:
    everybody = [f"u{n:03}" for n in range(200)]
    number = new_list(key, *everybody)
    cohort = follower(number)
    Cohort.objects.update(hold_if_halved=True)
    calculate.calculate_due(later())
    add(key, number, *everybody[:150], verb="remove")
    calculate.calculate_due(later())
    cohort.refresh_from_db()
    assert cohort.held_number and len(members_of(cohort)) == 200
    add(key, number, "new")
    calculate.calculate_due(later(5))
    assert cohort.versions.count() == 2  # it waits for the person
    refresh.approve(cohort.pk, cohort.held_number, by="ann")
    calculate.calculate_due(later(20))
    assert members_of(cohort) == {*everybody[150:], "new"}


def test_a_list_that_is_deleted_empties_nobody(key: str) -> None:
    number = new_list(key, "u1")
    cohort = follower(number)
    calculate.calculate_due(later())
    store.delete_list(Workspace.objects.get(), number)
    following._Look.at = -following.LOOK_ANYWAY
    calculate.calculate_due(later())
    cohort.refresh_from_db()
    assert "has no list" in cohort.calculation_error
    assert members_of(cohort) == {"u1"}


def test_what_a_relay_costs_while_nothing_comes(key: str, django_assert_num_queries: Any) -> None:
    follower(new_list(key, "u1"))
    calculate.calculate_due(later())
    following.following(later())
    with django_assert_num_queries(2):
        assert following.following(later()) == []


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"received_workspace": ""}, "received_workspace", "Say which workspace"),
        ({"received_workspace": "other"}, "received_list", "no receiving workspace 'other'"),
        ({"received_list": ""}, "received_list", "either a list or a trait"),
        ({"received_trait": "t"}, "received_list", "either a list or a trait"),
        ({"received_list": "999"}, "received_list", "“[Amplitude] Buyers”"),
        ({"received_list": "x"}, "received_list", "has no list 'x'"),
        ({"source_kind": "upload", "received_list": ""}, "schedule_kind", "Only a cohort that follows"),
        (
            {"received_list": "", "received_trait": "t", "received_equals": []},
            "received_equals",
            "Compare a trait",
        ),
    ],
)
def test_what_cannot_be_followed_is_said_at_the_field(
    key: str, values: dict[str, Any], field: str, said: str
) -> None:
    cohort = follower(new_list(key))
    for name, value in values.items():
        setattr(cohort, name, value)
    with pytest.raises(ValidationError) as caught:
        cohort.full_clean()
    assert said in " ".join(caught.value.message_dict[field])


def test_a_configuration_file_names_the_list_or_the_trait(key: str) -> None:
    number = int(new_list(key, "u1"))
    source = {"kind": "received", "workspace": "acme", "list": number}
    item = {"key": "relayed", "name": "Relayed", "source": source, "schedule": {"kind": "changes"}}
    apply.apply({"cohorts": [item]})
    [exported] = config.export()["cohorts"]
    assert exported["source"] == source | {"list": str(number)}
    assert [change.action for change in apply.apply({"cohorts": [exported]})] == ["none"]
    item["source"] = {"kind": "received", "workspace": "acme", "trait": "plan", "equals": "pro"}
    apply.apply({"cohorts": [item]})
    assert config.export()["cohorts"][0]["source"] == item["source"]


def test_from_the_page_of_a_list_to_a_cohort_that_follows_it(key: str, admin_client: Any) -> None:
    number = new_list(key, "u1")
    begun = admin_client.get(f"/admin/receiving/list/{number}/send-on/")
    form = admin_client.get(begun.url)
    initial = form.context["adminform"].form.initial
    assert initial["received_list"] == number and initial["schedule_kind"] == "changes"
    assert f'<option value="{number}">[Amplitude] Buyers (acme)</option>' in form.content.decode()
    values = {"timezone": "UTC", "events_workspace": "default", "received_equals": "true", **initial}
    saved = admin_client.post(begun.url, values, follow=True)
    assert "It follows its list" in saved.content.decode(), saved.context["adminform"].form.errors
    cohort = Cohort.objects.get()
    assert (cohort.name, cohort.key) == ("Buyers", f"buyers-{number}")
    calculate.calculate_due(later())
    assert members_of(cohort) == {"u1"}
    page = admin_client.get(f"/admin/cohorts/cohort/{cohort.pk}/").content.decode()
    assert f"/admin/syncs/sync/new/?cohort={cohort.pk}&amp;schedule_kind=changes" in page


def test_rest_says_what_is_followed(key: str, admin_client: Any) -> None:
    document = {
        "key": "relayed", "name": "Relayed", "source_kind": "received", "received_workspace": "acme",
        "received_list": new_list(key), "schedule_kind": "changes",
    }  # fmt: skip
    made = admin_client.post("/api/v1/cohorts/", document, content_type="application/json")
    assert made.status_code == 201, made.content
    bad = admin_client.patch(
        "/api/v1/cohorts/relayed/", {"received_list": "77"}, content_type="application/json"
    )
    assert bad.status_code == 400 and "has no list" in bad.content.decode()


def test_cron_follows_what_is_received_too(key: str) -> None:
    """`sync_due` asks whether anything is due, and then calculates what is: two looks of one process."""
    number = new_list(key, "u1")
    cohort = follower(number)
    pass_time(seconds=5)
    with pytest.raises(SystemExit):
        call_command("sync_due")
    assert members_of(cohort) == {"u1"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_amplitude_shaped_sender_reaches_another_partner_through_faults_and_stops(
    key: str, live_server: Any, seed: int
) -> None:
    """Sender, our receiver, the cohort that follows, and a partner of the catalogue: all over HTTP."""
    chance = random.Random(seed)
    source = world.cohort(world.users(40))
    sender = world.sync(source, world.destination(live_server.url, credential=key, batch_size=10))
    assert world.run(sender).state == RunState.SUCCEEDED
    cohort = follower(str(List.objects.get().pk))
    with served() as server:
        there = world.destination(server.url, "iterable-list", batch_size=10, threads=2, rate=None)
        server.partner = FakePartner(there.endpoint(), PRESETS["iterable-list"].fake)
        relayed = world.sync(cohort, there)
        for _ in range(6):
            stop = threading.Event()

            def fault(name: str, stop: threading.Event = stop) -> Answer | None:
                if chance.random() < 0.1:
                    stop.set()
                return chance.choice(
                    [None, None, None, Answer(503, {}), Answer(429, {}, {"Retry-After": "0"})]
                )

            server.partner.fault = fault
            world.fill(source, chance.sample(world.users(60), 30))
            assert world.run(sender).state == RunState.SUCCEEDED
            calculate.calculate_due(later())
            lifecycle.start(relayed, trigger=Trigger.COMMAND)
            world.go(there, stop=stop)
            world.mend(there)
        server.partner.fault = lambda name: None
        for _ in range(2):
            calculate.calculate_due(later(20))
            assert world.run(relayed).state == RunState.SUCCEEDED
        there_now = server.partner.members(world.name_at_partner(relayed))
        assert there_now == members_of(cohort) == world.wanted(sender)
        assert len(there_now) == 30
