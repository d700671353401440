"""A state machine: three destinations, joins and leaves, runs of every kind, crashes, lost replies, cancels.

Hypothesis looks for the shortest history that ends wrong. After each history all is well again, each sync
runs once more, and its partner must hold the cohort, but for users who are kept as rejected.
"""

import itertools
import os
import random
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from syncs import lifecycle
from syncs.choices import DONE_RUNS, OPEN_RUNS, RunMode, Trigger
from syncs.delivery import drive, loop
from syncs.models import Rejection, Run, Sync
from syncs.tests.memory import Chance, Crash, bury, memory_loop
from tests import world
from tests.partner import Fault, Partner

HISTORIES = int(os.environ.get("STORIES", "15"))
USERS = [f"u{number}" for number in range(8)]
USER_SETS = st.sets(st.sampled_from(USERS), min_size=1)
# What becomes of the next requests, one by one: well, lost on the way there, or on the way back.
FATES = st.lists(st.sampled_from(["well", "well", "lost", "no reply", "503", "400", "413"]), max_size=12)


class Syncs(RuleBasedStateMachine):
    patch: pytest.MonkeyPatch

    @initialize(members=USER_SETS, size=st.integers(1, 4))
    def set_up(self, members, size):
        self.partner = Partner()
        self.partner.fault = self.fault
        self.fates = iter(())
        self.bad = set()
        self.cohort = world.cohort(members)
        self.make_syncs(size)

    def make_syncs(self, size):
        self.syncs = [
            world.sync(self.cohort, world.destination("http://127.0.0.1:1", preset, batch_size=size))
            for preset in ("amplitude-list", "amplitude-property")
        ]
        both = '{"userIds": "$added", "leaving": "$removed"}'
        one = world.destination("http://127.0.0.1:1", batch_size=max(size, 2), change_template=both)
        self.syncs.append(world.sync(self.cohort, one))

    def fault(self, call):
        if self.bad & set(call.users):
            return Fault(400, {})
        fate = next(self.fates, "well")
        answers = {
            "lost": Fault(how="reset"),
            "no reply": Fault(how="reset", apply=True),
            "503": Fault(503, {}),
            "400": Fault(400, {}) if call.users else None,
            "413": Fault(413, {}) if len(call.users) > 1 else None,
        }
        return answers.get(fate)

    @rule(members=USER_SETS)
    def the_cohort_is_refreshed(self, members):
        world.fill(self.cohort, members)

    @rule(user=st.sampled_from(USERS))
    def a_user_joins_or_leaves(self, user):
        world.fill(self.cohort, world.wanted(self.syncs[0]) ^ {user})

    @rule(bad=st.sets(st.sampled_from(USERS), max_size=2))
    def the_partner_refuses_these_users(self, bad):
        self.bad = bad

    @rule(
        which=st.integers(0, 2),
        mode=st.sampled_from([RunMode.CHANGES, RunMode.CHANGES, RunMode.FULL, RunMode.EMPTY]),
        fates=FATES,
        crash_at=st.integers(0, 40),
        cancel_at=st.integers(0, 20),
        seed=st.integers(0, 3),
    )
    def a_run(self, which, mode, fates, crash_at, cancel_at, seed):
        sync = self.syncs[which]
        self.fates = iter(fates)
        try:
            run = lifecycle.start(sync, trigger=Trigger.COMMAND, mode=mode)
        except lifecycle.CannotRun:
            return
        points = itertools.count(1)

        def at(point):
            number = next(points)
            if number == cancel_at:
                Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).update(cancel_requested=True)
            if number == crash_at:
                raise Crash(point)

        self.drive(sync, at, seed)
        world.mend(sync.destination)

    def drive(self, sync, at=lambda point: None, seed=0):
        chance = Chance(random.Random(seed), at=at)
        self.patch.setattr(drive, "Loop", memory_loop(self.partner, chance))
        try:
            ended = drive.drive(sync.destination_id, stop=threading.Event())
            assert "error of this program" not in ended.reason, ended.reason
        except Crash:
            bury(sync.destination_id)
        for run in Run.objects.filter(sync=sync, state__in=DONE_RUNS).order_by("-pk")[:1]:
            if run.pk == Run.objects.filter(sync=sync).latest("pk").pk:
                self.check(sync, run)

    def check(self, sync, run):
        kept = set() if run.mode == RunMode.EMPTY else self.members_at(sync, run.to_version)
        wrong = (self.held(sync) ^ kept) - world.rejected(sync)
        assert not wrong, f"silently wrong at {sync}: {wrong}"

    def members_at(self, sync, version):
        return world.members_at(sync, version)

    def wanted(self, sync):
        return world.wanted(sync)

    def held(self, sync):
        sync = Sync.objects.get(pk=sync.pk)
        if sync.destination.kind == "list":
            return set(self.partner.lists.get(sync.list_id or "", ()))
        return self.partner.on(sync.external_name)

    def teardown(self):
        self.bad, self.fates = set(), iter(())
        for sync in getattr(self, "syncs", ()):
            for _ in range(3):
                world.mend(sync.destination)
                self.drive(sync)
                if not Run.objects.filter(sync=sync, state__in=OPEN_RUNS).exists():
                    lifecycle.start(sync, trigger=Trigger.COMMAND)
                    self.drive(sync)
            Rejection.objects.filter(sync=sync).retry()
            lifecycle.start(sync, trigger=Trigger.COMMAND)
            self.drive(sync)
            assert not world.rejected(sync)
            assert self.held(sync) == self.wanted(sync)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(7200)
def test_three_partners_end_equal_to_the_cohort_whatever_happened(settings, monkeypatch):
    settings.RETRY_TIME_SCALE = 0.0
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    Syncs.patch = monkeypatch
    run_state_machine_as_test(Syncs, settings=_hypothesis())


def _hypothesis():
    return settings(
        max_examples=HISTORIES,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="STORIES" not in os.environ,
    )
