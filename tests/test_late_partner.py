"""A partner that acts on a request long after it was given up on: what was sent since is sent once more."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cohorts import prune as cohort_prune
from people.models import Erasure
from syncs import lifecycle, prune
from syncs.choices import BatchState, RunMode, RunState
from syncs.models import LATE, Batch, Sync
from tests import world
from tests.partner import Call, Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)


class Late(Partner):
    """Gives the first request that names `whom` no answer, and acts on it when `act` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.whom, self.kept = "", list[Call]()
        self.fault = self.keep

    def keep(self, call: Call) -> Fault | None:
        if self.kept or self.whom not in call.users:
            return None
        self.kept.append(call)
        return Fault(how="reset")

    def act(self) -> None:
        self._apply(self.kept[0])


@pytest.fixture
def partner(settings):
    settings.RETRY_TIME_SCALE = 0.0
    with Late() as running:
        yield running


@pytest.fixture(params=["amplitude-list", "amplitude-property"])
def sync(partner, request):
    """Ada and Bob are there; of Cyd, who came, the partner said nothing at first."""
    made = world.sync(world.cohort(["ada", "bob"]), world.destination(partner.url, request.param))
    world.run(made)
    partner.whom = "cyd"
    world.fill(made.cohort, ["ada", "bob", "cyd"])
    assert world.run(made).state == RunState.SUCCEEDED
    made.refresh_from_db()
    return made


def held(sync, partner):
    return partner.members(world.name_at_partner(Sync.objects.get(pk=sync.pk)))


def leave(sync, *users):
    world.fill(sync.cohort, sorted(world.wanted(sync) - set(users)))
    run = world.run(sync)
    sync.refresh_from_db()
    return run


def test_an_add_that_is_acted_on_after_its_user_was_removed__is_taken_back_by_the_next_run(sync, partner):
    assert sync.repeat_from is None, "the run itself is not repeated: nothing that it sent can be undone"
    leave(sync, "cyd")
    partner.act()
    assert "cyd" in held(sync, partner)
    assert sync.repeat_from == 2
    run = world.run(sync)
    assert (run.state, run.repeat_from, run.removed, run.added) == (RunState.SUCCEEDED, 2, 1, 0)
    assert held(sync, partner) == {"ada", "bob"}


def test_a_removal_that_is_acted_on_after_its_user_came_back__is_taken_back_by_the_next_run(sync, partner):
    partner.whom, partner.kept = "bob", []
    leave(sync, "bob")
    world.fill(sync.cohort, ["ada", "bob", "cyd"])
    world.run(sync)
    partner.act()
    assert "bob" not in held(sync, partner)
    world.run(sync)
    assert held(sync, partner) == {"ada", "bob", "cyd"}


def test_it_is_repeated_once_and_costs_what_moved(sync, partner):
    leave(sync, "cyd")
    # A run of its own may be undone as well, as long as the request is young.
    assert world.run(sync).repeat_from == 2
    sync.refresh_from_db()
    assert sync.repeat_from == 3
    run = world.run(sync)
    assert (run.repeat_from, run.requests) == (3, 0)


def test_what_a_killed_driver_had_under_way_may_be_acted_on__though_nobody_drives_its_run_to_its_end(
    sync, partner
):
    world.fill(sync.cohort, ["ada", "bob", "cyd", "dan"])
    run = lifecycle.start(Sync.objects.get(pk=sync.pk), trigger="manual")
    run.batches.create(number=1, step="add", state=BatchState.SENDING, size=1, user_ids=["dan"])
    lifecycle.cancel(run, by="ada")
    assert run.batches.get().unknown_outcome
    leave(sync, "dan")
    assert sync.repeat_from is not None, "the next run sends once more who moved since"


def test_a_request_of_more_than_a_day_ago_is_not_waited_for(sync):
    Batch.objects.filter(unknown_outcome=True).update(created_at=timezone.now() - LATE - timedelta(minutes=1))
    leave(sync, "cyd")
    assert sync.repeat_from is None
    assert world.run(sync).requests == 0


def test_nothing_is_repeated_where_every_request_was_answered(partner):
    made = world.sync(world.cohort(["ada", "bob"]), world.destination(partner.url))
    partner.kept = [Call("", {}, "", [], 0.0)]
    world.run(made)
    assert leave(made, "bob").repeat_from is None
    assert made.repeat_from is None


def test_a_run_that_did_not_end_repeats_nothing_less(sync, partner):
    leave(sync, "cyd")
    partner.fault = lambda call: Fault(401, {})
    world.fill(sync.cohort, ["ada", "bob", "dan"])
    assert world.run(sync).state != RunState.SUCCEEDED
    partner.act()
    partner.fault = lambda call: None
    world.mend(sync.destination)
    world.run(sync)
    assert held(sync, partner) == {"ada", "bob", "dan"}


def test_after_an_emptying_without_an_answer__who_is_filled_in_again_is_sent_once_more(sync, partner):
    partner.whom, partner.kept = "bob", []
    world.run(sync, RunMode.EMPTY)
    world.run(sync)
    partner.act()
    assert "bob" not in held(sync, partner)
    world.run(sync)
    assert held(sync, partner) == {"ada", "bob", "cyd"}


def test_the_guard_does_not_ask_again_about_what_is_repeated(sync, partner):
    leave(sync, "cyd")
    Sync.objects.filter(pk=sync.pk).update(guard_users=0)
    partner.act()
    assert world.run(sync).state == RunState.SUCCEEDED
    assert held(sync, partner) == {"ada", "bob"}
    world.fill(sync.cohort, ["ada"])
    run = world.run(sync)
    assert (run.state, run.reason) == (RunState.HELD, "It would remove 1 users; the limit is 0.")


def test_pruning_keeps_what_is_needed_to_repeat(sync, partner):
    leave(sync, "cyd")
    assert prune.floor_of(sync.cohort) == 2
    cohort_prune.prune(sync.cohort_id, floor=2, before=timezone.now())
    partner.act()
    world.run(sync)
    assert held(sync, partner) == {"ada", "bob"}


def test_an_erasure_waits_for_the_removal_that_is_sent_once_more(sync, partner):
    leave(sync, "cyd")
    call_command("forget_user", "cyd", stdout=StringIO())
    assert Erasure.objects.get().state == "waiting"
    partner.act()
    world.run(sync)
    assert "cyd" not in held(sync, partner)


def test_it_is_said_before_and_after(sync, admin_client: Client, capsys):
    leave(sync, "cyd")
    call_command("sync", str(sync), "--dry-run")
    assert "who moved since version 2 is sent once more" in " ".join(capsys.readouterr().out.split())
    page = admin_client.get(reverse("admin:syncs_sync_dry_run", args=[sync.pk])).content.decode()
    assert "who moved since version 2" in " ".join(page.split())
    run = world.run(sync)
    page = admin_client.get(reverse("admin:syncs_run_change", args=[run.pk])).content.decode()
    assert "everyone who moved since version 2 is sent once more" in " ".join(page.split())
