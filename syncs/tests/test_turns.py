"""A slow partner slows no other: who waits for it takes nobody's place. Order is tested, not time."""

import threading

import pytest
from django.db import connection

from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.delivery.slots import Slots
from syncs.delivery.turns import Turns
from syncs.delivery.writing import writing
from syncs.models import Run
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)
SLOW, AT_ONCE = 24, 3


def wait_for(fact, seconds=60.0) -> None:
    woken = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if fact():
            return
        woken.wait(0.05)
    raise AssertionError("it did not come true")


class Slow(Partner):
    """Answers nobody before `gate` is set."""

    gate = threading.Event()

    def answer(self, *call):
        self.gate.wait(60)
        return super().answer(*call)


def test_a_quick_partner_is_served_while_many_slow_ones_have_not_answered():
    with Slow() as slow, Partner() as quick:
        cohort = world.cohort(world.users(20))
        late = [world.sync(cohort, world.destination(slow.url)) for _ in range(SLOW)]
        for sync in late:
            lifecycle.start(sync, trigger=Trigger.SCHEDULE)
        sync = world.sync(cohort, world.destination(quick.url, batch_size=2))
        stop = threading.Event()
        slots = Slots(stop, lambda runs: None)
        slots.turns = Turns(lambda: SLOW, at_once=AT_ONCE)
        try:
            slots.fill([each.destination_id for each in late])
            wait_for(lambda: slow.in_flight == SLOW)
            run = lifecycle.start(sync, trigger=Trigger.SCHEDULE)
            slots.fill([sync.destination_id])
            wait_for(lambda: Run.objects.get(pk=run.pk).state == RunState.SUCCEEDED)
            assert slow.in_flight == SLOW, "none of the slow ones has answered"
        finally:
            slow.gate.set()
            wait_for(lambda: not Run.objects.exclude(state=RunState.SUCCEEDED).exists())
            stop.set()
            slots.close()
        assert quick.members(world.name_at_partner(sync)) == world.wanted(sync)


def test_a_driver_that_rests_in_a_crowd_holds_no_connection():
    turns = Turns(lambda: 9, at_once=3)
    seen = []

    def drive() -> None:
        with turns.taken():
            connection.ensure_connection()
            with turns.rest():
                seen.append(connection.connection)

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join(30)
    assert seen == [None]


def test_who_comes_back_goes_before_who_begins__but_one_of_four_begins():
    """Else a hundred that begin stand before a quick one; and the other way round, nobody would begin."""
    turns = Turns(lambda: 20, at_once=1)
    order: list[str] = []
    with turns.taken():
        lines = {"new": turns._new, "back": turns._back}
        threads = []
        for name in ["new"] * 4 + ["back"] * 6:
            line = lines[name]

            def go(name=name, line=line) -> None:
                turns._wait_in(line)
                order.append(name)
                turns._give()

            threads.append(threading.Thread(target=go))
            before = len(line)
            threads[-1].start()
            wait_for(lambda line=line, before=before: len(line) == before + 1)
    for thread in threads:
        thread.join(30)
    assert order == [*["back"] * 3, "new", *["back"] * 3, "new", "new", "new"]


def test_drivers_of_a_process_wait_for_each_other_and_not_for_the_file():
    """SQLite lets who waits for its writer sleep; a hundred that sleep leave it idle."""
    if connection.vendor != "sqlite":
        pytest.skip("other databases have many writers")
    inside, most = [], []

    def write() -> None:
        with writing():
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()
        connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1, 1, 1, 1]
