"""No user is ever silently wrong: random histories of a sync, checked against what a partner in memory holds.

The quick form plays HISTORIES of them; `HISTORIES=10000 pytest syncs/tests/test_plan.py` is the long one.
After each run that ended well every user is at the partner or not as the target says, but for those
who have a row as rejected; a run from clean names only who moved, whose turn it is, and a canary.
"""

import os
import random
import threading
from contextlib import suppress

import pytest
from django.utils import timezone

from cohorts import members
from cohorts import prune as cohort_prune
from syncs import lifecycle, prune
from syncs.choices import DONE_RUNS, OPEN_RUNS, RejectionState, RunMode, Trigger
from syncs.delivery import drive, loop, rejections
from syncs.models import Rejection, Run, Sync
from syncs.tests.memory import Chance, Crash, bury, memory_loop
from tests import world
from tests.partner import Call, Fault, Partner

HISTORIES = int(os.environ.get("HISTORIES", "30"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "1"))
# How a partner behaves during a run, and how often.
MOODS = dict(
    [("well", 10), ("flaky", 5), ("late", 4), ("small", 2), ("no key", 1), ("dead", 1)]
    + [("refuses everybody", 1), ("404", 1), ("deaf 404", 2), ("stumbles", 2)]
)
UNIVERSE = [f"u{number:02d}" for number in range(14)]


class History:
    """One sync, its partner, and a person, a scheduler and fate that act at random."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random = random.Random(seed)
        self.monkeypatch = monkeypatch
        self.partner = Partner()
        self.partner.fault = self.fault
        kind = self.random.choice(["amplitude-list", "amplitude-list", "amplitude-property"])
        size = self.random.choice([1, 2, 3, 5])
        single = kind == "amplitude-property" and self.random.random() < 0.3
        self.to = world.destination(
            "http://127.0.0.1:1",
            kind,
            batch_size=size,
            threads=self.random.choice([1, 2, 4]),
            delivery="single" if single else "batch",
        )
        self.cohort = world.cohort(self.some_users())
        self.sync = world.sync(self.cohort, self.to)
        self.mode = "well"
        # What a run may name, gathered at the start of each of its drives; by run.
        self.due: dict[int, set[str]] = {}
        self.rows_before: dict[int, set[str]] = {}
        self.calls: dict[int, list] = {}
        self.log: list[str] = []
        # Requests that the partner has and did not answer; it acts on them when it likes. By the run of then.
        self.late: list[tuple[int, Call]] = []
        self.change_bad_users()

    # --- fate ---

    def some_users(self) -> list[str]:
        return self.random.sample(UNIVERSE, self.random.randint(1, len(UNIVERSE)))

    def fault(self, call):
        chance = self.random
        if self.mode == "no key":
            return Fault(401, {})
        if self.mode == "dead":
            return Fault(503, {})
        if self.mode == "refuses everybody":
            return Fault(400, {})
        if self.mode == "404":
            return Fault(404, {})
        if self.mode == "flaky" and chance.random() < 0.3:
            how = chance.choice(["reply", "reset"])
            return Fault(chance.choice([429, 503]), {}, how=how, apply=chance.random() < 0.5)
        if self.mode == "small" and len(call.users) > 1 and chance.random() < 0.8:
            return Fault(413, {})
        if call.kind == "create":
            return None
        if self.mode == "late" and chance.random() < 0.3:
            self.late.append((Run.objects.filter(sync=self.sync).latest("pk").pk, call))
            return Fault(how="reset")
        if self.mode == "deaf 404" and self.list_is_lost():
            return Fault(404, {})
        adds = call.kind == "add" or (call.kind == "identify" and self.value(call))
        found = sorted((self.bad if adds else self.bad_to_remove) & set(call.users))
        if not found:
            return None
        if self.mode == "stumbles":
            return Fault(503, {})
        if self.named:
            return Fault(404, {"error": {"code": "invalid_user_id"}, "invalidUserIds": found[:2]})
        return Fault(chance.choice([400, 422]), {"error": "bad"})

    @staticmethod
    def value(call) -> bool:
        item = call.body.get("batch", [call.body])[0]
        return any(item["traits"].values())

    def list_is_lost(self) -> bool:
        held = Sync.objects.get(pk=self.sync.pk).list_id
        return held is not None and held not in self.partner.lists

    # --- steps ---

    def step(self) -> None:
        steps = {
            self.refresh: 5,
            self.play_run: 8,
            self.change_bad_users: 4,
            self.lose_list: 0.7,
            self.person_and_rejections: 0.7,
            self.prune: 2,
            self.reset: 0.4,
            self.rename: 0.7,
        }
        self.random.choices(list(steps), list(steps.values()))[0]()

    def refresh(self) -> None:
        now = world.wanted(self.sync)
        moved = set(self.random.sample(UNIVERSE, self.random.randint(1, 4)))
        self.log.append(f"refresh: {sorted(moved - now)} enter, {sorted(moved & now)} leave")
        world.fill(self.cohort, now ^ moved)

    def change_bad_users(self) -> None:
        self.bad = set(self.random.sample(UNIVERSE, self.random.choice([0, 1, 2, 4])))
        self.bad_to_remove = set(self.random.sample(sorted(self.bad), len(self.bad) // 2))
        self.named = self.random.random() < 0.5
        self.log.append(f"bad: {sorted(self.bad)}; also to remove: {sorted(self.bad_to_remove)}")

    def lose_list(self) -> None:
        self.log.append("the partner loses its lists")
        self.partner.lists.clear()

    def person_and_rejections(self) -> None:
        rows = Rejection.objects.filter(sync=self.sync)
        if self.random.random() < 0.5:
            rows.update(state=RejectionState.WAITING, due_at_run=0)
            self.log.append("a person retries all rejected users")
        else:
            rows.update(state=RejectionState.DISMISSED)
            self.log.append("a person dismisses all rejected users")

    def prune(self) -> None:
        self.cohort.refresh_from_db()
        floor = prune.floor_of(self.cohort)
        cohort_prune.prune(self.cohort.pk, floor=floor, before=timezone.now())
        self.log.append(f"membership that ended before v{floor} is pruned")

    def reset(self) -> None:
        """Only of a list: a new one begins empty. Whoever has a property keeps it."""
        if self.to.kind == "list":
            with suppress(lifecycle.CannotRun):
                lifecycle.reset(self.sync)
                self.log.append("a person resets the sync")

    def rename(self) -> None:
        name = f"name {self.random.random()}"
        with suppress(lifecycle.CannotRun):
            lifecycle.rename(self.sync, name, by="a person")
            self.log.append(f"a person renames it to {name}")

    def play_run(self) -> None:
        chance = self.random
        self.mode = chance.choices(list(MOODS), list(MOODS.values()))[0]
        self.act_late()
        mode = chance.choices([RunMode.CHANGES, RunMode.FULL, RunMode.EMPTY], [7, 1, 2])[0]
        try:
            run = lifecycle.start(self.sync, trigger=Trigger.COMMAND, mode=mode)
        except lifecycle.CannotRun:
            return
        crash = chance.choice([0, 0, 0.02, 0.1])
        cancel_at = chance.randint(1, 12) if chance.random() < 0.2 else 0
        self.drive(run, crash, cancel_at)
        if chance.random() < 0.7:
            world.mend(self.to)

    def act_late(self) -> None:
        """The partner acts on what it did not answer, after one more run has ended well: the next mends it.

        Not under a name that was given up, nor to a list that was emptied meanwhile: nothing is sent again.
        """
        later, self.late = self.late, []
        for at, call in self.random.sample(later, len(later)):
            since = list(Run.objects.filter(sync=self.sync, pk__gt=at).values_list("mode", "state"))
            ended = [mode for mode, state in since if state in DONE_RUNS]
            emptied = any(mode == RunMode.EMPTY for mode, _ in since)
            if not ended:
                self.late.append((at, call))
            elif len(ended) == 1 and not emptied:
                self.log.append(f"the partner acts late: {call.kind} {call.users}")
                self.partner._apply(call)

    def drive(self, run: Run, crash: float = 0.0, cancel_at: int = 0) -> None:
        points = iter(range(1, 1_000_000))

        def at(point: str) -> None:
            if point == "after request" and next(points) == cancel_at:
                self.log.append("a person cancels")
                Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).update(cancel_requested=True)

        open_runs = list(Run.objects.filter(sync=self.sync, state__in=OPEN_RUNS))
        for active in open_runs:
            self.due.setdefault(active.pk, set()).update(self.due_now(active))
            self.rows_before.setdefault(active.pk, world.rejected(self.sync))
        self.monkeypatch.setattr(loop, "LOOK_EVERY", 0.0 if cancel_at else 0.5)
        self.monkeypatch.setattr(drive, "Loop", memory_loop(self.partner, Chance(self.random, crash, at)))
        before = len(self.partner.calls)
        try:
            ended = drive.drive(self.to.pk, stop=threading.Event())
            said = f"{ended.how.value} {ended.reason}"
            assert "error of this program" not in said, said
        except Crash as point:
            said = f"crash {point}"
            bury(self.to.pk)
        self.to.refresh_from_db()
        for active in open_runs:
            self.calls.setdefault(active.pk, []).extend(self.partner.calls[before:])
        run.refresh_from_db()
        self.log.append(
            f"{run.mode} run {run.pk} → v{run.to_version}, {self.mode}: {said}; {run.state} {run.reason}"
        )
        for active in Run.objects.filter(sync=self.sync, pk__gte=run.pk, state__in=DONE_RUNS):
            if active.pk == Run.objects.filter(sync=self.sync).latest("pk").pk:
                self.check(active)

    # --- what must be true ---

    def held(self) -> set[str]:
        sync = Sync.objects.get(pk=self.sync.pk)
        if self.to.kind == "list":
            return set(self.partner.lists.get(sync.list_id or "", ()))
        return self.partner.on(sync.external_name)

    def due_now(self, run: Run) -> set[str]:
        """Whose turn it is, by the design's words and not by the code."""
        sync = Sync.objects.get(pk=self.sync.pk)
        target = run.to_version if run.started_at else sync.cohort.version
        inside = set(members.in_version(self.cohort.pk, target)) if run.mode != RunMode.EMPTY else set()
        due = set()
        for row in Rejection.objects.filter(sync=sync):
            wants = row.user_id in inside
            if not wants and not row.maybe_held:
                continue
            turn = row.state == RejectionState.WAITING and row.due_at_run <= sync.runs_done
            if wants != row.wanted or run.mode != RunMode.CHANGES or turn:
                due.add(row.user_id)
        return due

    def check(self, run: Run) -> None:
        if self.list_is_lost():
            return
        target = (
            set() if run.mode == RunMode.EMPTY else set(members.in_version(self.cohort.pk, run.to_version))
        )
        held = self.held()
        rows = {row.user_id: row for row in Rejection.objects.filter(sync=self.sync)}
        wrong = (held ^ target) - set(rows)
        assert not wrong, f"silently wrong: {sorted(wrong)}"
        liars = {user for user, row in rows.items() if user in held and not row.maybe_held}
        assert not liars, f"held, but not believed to be: {sorted(liars)}"
        self.check_names(run, target)

    def check_names(self, run: Run, target: set[str]) -> None:
        """A run names who moved (from dirty: who was touched), whose turn it was, and at most a canary."""
        if run.pk not in self.due:
            return  # it began while another was driven
        named = {user for call in self.calls[run.pk] for user in call.users}
        moves = list(members.moves_page(self.cohort.pk, run.from_version, run.to_version, "", 1000))
        out_of_turn = named & self.rows_before[run.pk] - self.due[run.pk]
        assert not out_of_turn, f"rejected, and named out of turn: {sorted(out_of_turn)}"
        settled = set(members.in_version(self.cohort.pk, run.from_version))
        careful = run.from_dirty or run.mode != RunMode.CHANGES
        if run.repeat_from is not None:
            careful = True
            moves += members.moves_page(self.cohort.pk, run.repeat_from, run.to_version, "", 1000)
        allowed = {move.user_id for move in moves if careful or move.was != move.now}
        if run.mode == RunMode.FULL:
            allowed |= target
        if run.mode == RunMode.EMPTY:
            allowed |= settled
        others = named - allowed - self.due[run.pk]
        assert others <= settled & target, f"named without a reason: {sorted(others)}"
        if run.mode == RunMode.CHANGES:
            refusals = run.batches.filter(user_ids__isnull=False, size=1, step="add")
            assert len(others) <= refusals.count(), f"named without a reason: {sorted(others)}"

    def finish(self) -> None:
        """All is well again: the sync comes right by itself; the rejected ones when they are tried again."""
        self.bad, self.bad_to_remove, self.mode = set(), set(), "well"
        self.log.append("all is well from here on")
        if self.list_is_lost():
            self.settle(RunMode.FULL)
        self.settle()
        Rejection.objects.filter(sync=self.sync).update(state=RejectionState.WAITING, due_at_run=0)
        self.settle()
        assert not world.rejected(self.sync)
        assert self.held() == world.wanted(self.sync)
        self.sync.refresh_from_db()
        assert not self.sync.next_name, "the name was not changed"
        noted = "".join(Run.objects.filter(sync=self.sync).values_list("note", flat=True))
        for user, traits in self.partner.traits.items():
            left = [name for name, value in traits.items() if value and name != self.sync.external_name]
            assert not left or user in noted, f"{user} is still in {left}, and nobody is told"

    def settle(self, mode: str = RunMode.CHANGES) -> None:
        for _ in range(6):
            world.mend(self.to)
            if left := Run.objects.filter(sync=self.sync, state__in=OPEN_RUNS).first():
                self.drive(left)
            run = lifecycle.start(self.sync, trigger=Trigger.COMMAND, mode=mode)
            self.drive(run)
            sync = Sync.objects.get(pk=self.sync.pk)
            mode = RunMode.CHANGES
            still_open = Run.objects.filter(sync=sync, state__in=OPEN_RUNS).exists()
            done = run.state in DONE_RUNS and run.mode != RunMode.EMPTY and not still_open
            if done and sync.settled_version == sync.cohort.version and not sync.dirty:
                return
        raise AssertionError("it does not settle")


def play(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(seed, monkeypatch)
    try:
        for _ in range(history.random.randint(4, 12)):
            history.step()
        history.finish()
    except Exception as error:
        log = "\n".join(history.log)
        raise AssertionError(f"seed {seed}: {error}\n{log}") from error


@pytest.fixture
def quick(settings, monkeypatch):
    """No waiting, and few tries until a rejected user has been tried often enough."""
    settings.RETRY_TIME_SCALE = 0.0
    monkeypatch.setattr(rejections, "TRIES", 2)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(7200)
def test_no_user_is_ever_silently_wrong(quick, monkeypatch):
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        play(seed, monkeypatch)
