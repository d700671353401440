"""A full run that was begun is owed until one has ended well: cancelled or failed, the next run does it."""

import pytest
from django.db import connection
from django.utils import timezone

from syncs import lifecycle
from syncs.choices import RunMode, RunState, Trigger
from syncs.models import Run, Sync
from syncs.preview import preview
from syncs.status.facts import states_of
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def begun_and_left(partner, how) -> Sync:
    """A sync whose partner lost somebody without a word, and whose full run was left half done."""
    sync = world.sync(
        world.cohort(world.users(100)), world.destination(partner.url, batch_size=10, threads=1)
    )
    world.run(sync)
    for members in partner.lists.values():
        members.discard("u0000099")
    run = lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL)
    before = len(partner.calls)

    def fault(call):
        if len(partner.calls) - before < 4:
            return None
        if how == "cancelled":
            Run.objects.filter(pk=run.pk).update(cancel_requested=True)
            connection.close()  # of this thread, the partner's
            return None
        return Fault(401, {})

    partner.fault = fault
    world.go(sync.destination)
    partner.fault = lambda call: None
    world.mend(sync.destination)
    if how == "failed, then cancelled":
        Run.objects.filter(pk=run.pk).update(state=RunState.CANCELLED)
    sync.refresh_from_db()
    return sync


@pytest.mark.parametrize("how", ["cancelled", "failed", "failed, then cancelled"])
def test_the_next_run_is_full_although_changes_were_asked_for(partner, monkeypatch, how):
    monkeypatch.setattr("syncs.delivery.loop.LOOK_EVERY", 0.0)
    sync = begun_and_left(partner, how)
    assert sync.full_owed
    run = world.run(sync)
    assert (run.mode, run.state) == (RunMode.FULL, RunState.SUCCEEDED)
    assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)
    sync.refresh_from_db()
    assert not sync.full_owed
    before = len(partner.calls)
    assert world.run(sync).mode == RunMode.CHANGES
    assert len(partner.calls) == before


def test_it_is_shown_and_counted_in_the_dry_run(partner, monkeypatch):
    monkeypatch.setattr("syncs.delivery.loop.LOOK_EVERY", 0.0)
    sync = begun_and_left(partner, "cancelled")
    found = preview(sync)
    assert (found.mode, found.adds) == (RunMode.FULL, 100)
    assert "names everybody" in states_of([sync], timezone.now())[sync.pk].sentence


def test_starting_over_owes_nothing(partner, monkeypatch):
    monkeypatch.setattr("syncs.delivery.loop.LOOK_EVERY", 0.0)
    sync = begun_and_left(partner, "cancelled")
    lifecycle.reset(sync)
    sync.refresh_from_db()
    assert not sync.full_owed
