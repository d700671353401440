"""Known mistakes, made on purpose in a copy of the code, one at a time: do the tests notice each?

    python -m chaos.mutants                 # all, some minutes
    python -m chaos.mutants --only rejected # those with this word in their name

Each mutant takes one rule out, and names the tests that must fail then. One that lives is a rule that no
test guards; so is a test that fails without a mutant, which is tried first.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from chaos import fixtures

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", ".env", "*.sqlite3*")
MODEL = "syncs/tests/test_plan.py"
MACHINE = "syncs/tests/test_machine.py"
LIFECYCLE = "syncs/tests/test_lifecycle.py"
REPORTED = "tests/test_run_reports.py"
HTTP = "tests/test_sync_http.py"
ODD = "tests/test_odd_partner.py"
REFUSED = "tests/test_refused_users.py"
# Enough for each mistake below to show itself; a test that has failed stops there.
HISTORIES = "600"


@dataclass(frozen=True)
class Mutant:
    """A rule, the text that holds it, what stands there instead, and the tests that must fail."""

    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (MODEL,)


MUTANTS = [
    Mutant(
        "nobody of a whole list is delivered before its last part is taken",
        "syncs/delivery/session.py",
        "        self._start += len(self.piece)\n        if",
        "        self._start += len(self.piece)\n        self.delivered = self._start\n        if",
        ("syncs/tests/test_session.py",),
    ),
    Mutant(
        "a whole list that was cut begins another session",
        "syncs/delivery/session.py",
        "self.part = Part(new_number(), 0,",
        'self.part = Part("1", 0,',
        ("syncs/tests/test_session.py", "tests/test_parts_of_lists.py"),
    ),
    # What a partner holds.
    Mutant(
        "dirty before the first request",
        "syncs/models.py",
        'held: dict[str, Any] = {"dirty": True}\n        if back_to',
        "held: dict[str, Any] = {}\n        if back_to",
    ),
    Mutant(
        "from dirty, everyone who entered or left is added again",
        "syncs/plan.py",
        "move.now and (self.careful or self.resends or not move.was)",
        "move.now and (self.resends or not move.was)",
        (MODEL, "syncs/tests/test_plan_table.py"),
    ),
    Mutant(
        "from dirty, and in full, everyone who left is removed again",
        "syncs/plan.py",
        "careful = self.careful or self.mode == RunMode.FULL",
        "careful = False",
    ),
    Mutant(
        "what was sent after a request without an answer is sent once more",
        "syncs/models.py",
        'held["repeat_from"] = _to_repeat(run)',
        'held["repeat_from"] = None',
        (MODEL,),
    ),
    Mutant(
        "a clean run names only who moved",
        "syncs/plan.py",
        "not move.now and (careful or move.was)",
        "not move.now",
        (MODEL, "syncs/tests/test_plan_table.py"),
    ),
    Mutant(
        "a partner that holds nobody is asked to remove nobody",
        "syncs/plan.py",
        "first = self.settled == 0",
        "first = self.mode == RunMode.CHANGES and self.settled == 0",
        ("syncs/tests/test_plan_table.py",),
    ),
    Mutant(
        "what a failed transaction counted is dropped with it",
        "syncs/delivery/outbox.py",
        "self.batches, self.writes, self._runs = [], [], {}\n\n    def relax",
        "self.batches, self.writes = [], []\n\n    def relax",
        ("tests/test_odd_partner.py",),
    ),
    Mutant(
        "batches that wait are sent in their order",
        "syncs/delivery/queues.py",
        "            for work in waiting:",
        "            for work in reversed(waiting):",
        ("tests/test_odd_partner.py",),
    ),
    Mutant(
        "a full run adds everyone in the target",
        "syncs/plan.py",
        "if first or self.mode == RunMode.FULL else self._entered",
        "if first else self._entered",
        (MODEL, "syncs/tests/test_plan_table.py"),
    ),
    Mutant(
        "an emptying run removes who was touched since",
        "syncs/plan.py",
        "page = sorted({u for u in [*settled, *touched] if end is None or u <= end})",
        "page = sorted({u for u in settled if end is None or u <= end})",
        (MODEL, "syncs/tests/test_plan_table.py"),
    ),
    Mutant(
        "an emptying run that did not finish may have removed anybody",
        "syncs/models.py",
        'held["settled_version"] = 0\n',
        "pass\n",
        (HTTP,),
    ),
    Mutant(
        "only success settles",
        "syncs/delivery/admission.py",
        "or state == RunState.CANCELLED:\n                then(active.run)",
        "or state == RunState.CANCELLED:\n                "
        "Sync.objects.settle(active.run)\n                "
        "then(active.run)",
    ),
    Mutant(
        "a list that is gone holds nobody",
        "syncs/models.py",
        "settled_version=0,\n                dirty=False,\n                repeat_from=None,",
        "dirty=False,\n                repeat_from=None,",
    ),
    Mutant(
        "a full run that was begun is owed",
        "syncs/models.py",
        'held["full_owed"] = True',
        "pass",
        ("tests/test_full_owed.py",),
    ),
    Mutant(
        "membership is pruned below every settled version only",
        "syncs/prune.py",
        "return min(\n        cohort.version,",
        "return max(\n        cohort.version,",
    ),
    Mutant(
        "a sync that is dirty from nothing keeps all membership",
        "syncs/prune.py",
        ".exclude(settled_version=0, dirty=False)",
        ".exclude(settled_version=0)",
    ),
    # Batches and crashes.
    Mutant(
        "a batch that was being sent is sent again",
        "syncs/delivery/feed.py",
        "yield from self._resumed()",
        "yield from ()",
    ),
    Mutant(
        "a batch sent again may have arrived before",
        "syncs/delivery/feed.py",
        "            batch.unknown_outcome |= job is None\n            retried",
        "            retried",
    ),
    Mutant(
        "a request without a reply may have arrived",
        "syncs/delivery/outcomes.py",
        "return later or reply.unknown_outcome",
        "return False",
        (MODEL, MACHINE),
    ),
    Mutant(
        "no remove begins before all adds are answered",
        "syncs/delivery/feed.py",
        "            yield from planned\n            yield BARRIER",
        "            yield from planned",
        (LIFECYCLE,),
    ),
    Mutant(
        "a run ends when what is in flight of it has come back",
        "syncs/delivery/admission.py",
        "if feed.active.ended and not self.queues.requests_of(feed.active):",
        "if feed.active.ended:",
        (LIFECYCLE,),
    ),
    Mutant(
        "nothing is recorded as delivered before the reply",
        "syncs/delivery/loop.py",
        "        work.stored = True\n",
        "        work.stored = True\n        work.batch.state = 'delivered'\n",
    ),
    # Rejected users.
    Mutant(
        "the difference leaves rejected users out",
        "syncs/plan.py",
        "yield [user_id for user_id in within if user_id not in out] if out else within",
        "yield within",
    ),
    Mutant(
        "a rejected user who may be at the partner is not forgotten",
        "syncs/delivery/rejections.py",
        "if not want and not rejection.maybe_held:",
        "if not want:",
    ),
    Mutant(
        "a rejected user is sent as the target says",
        "syncs/delivery/rejections.py",
        "(adds if want else removes)",
        "(adds if rejection.wanted else removes)",
    ),
    Mutant(
        "a rejected user is tried when their membership changes",
        "syncs/delivery/rejections.py",
        "if rejection.wanted != want or run.mode != RunMode.CHANGES:",
        "if run.mode != RunMode.CHANGES:",
        (LIFECYCLE,),
    ),
    Mutant(
        "a rejected user waits for their turn",
        "syncs/delivery/rejections.py",
        "and rejection.due_at_run <= run.sync.runs_done",
        "",
    ),
    Mutant(
        "once tried again, a rejected user may be held",
        "syncs/delivery/rejections.py",
        "rows.update(maybe_held=True, ",
        "rows.update(",
    ),
    Mutant(
        "an add refused from dirty may have worked before",
        "syncs/delivery/rejections.py",
        "and not (run.from_dirty or run.repeat_from is not None or batch.unknown_outcome)",
        "",
    ),
    Mutant(
        "who is delivered is no longer rejected",
        "syncs/delivery/judge.py",
        "rejections.forgive(work.retried.values(), still)",
        "rejections.forgive([], [])",
    ),
    Mutant(
        "nobody is rejected before somebody was accepted",
        "syncs/delivery/outcomes.py",
        "if (narrowing.rejected or narrowing.undelivered) and not facts.accepted:",
        "if False:",
        (HTTP, ODD, MODEL),
    ),
    Mutant(
        "the good half of a refused batch is sent",
        "syncs/delivery/narrow.py",
        "self._rest = sorted([*self._rest, *users])",
        "self._rest = sorted(self._rest)",
        (MODEL, "syncs/tests/test_narrow.py"),
    ),
    Mutant(
        "until somebody was taken, users are tried alone",
        "syncs/delivery/outcomes.py",
        "alone=not facts.accepted and refused >= ALONE_AFTER",
        "alone=False",
        (REFUSED,),
    ),
    Mutant(
        "one witness proves nothing",
        "syncs/delivery/outcomes.py",
        "facts.witnesses < WITNESSES",
        "False",
        (REFUSED,),
    ),
    Mutant(
        "who was refused before does not decide about the partner",
        "syncs/delivery/outcomes.py",
        "LeaveRetries() if facts.only_refused_before else _refuses_everybody(facts)",
        "_refuses_everybody(facts)",
        (REFUSED,),
    ),
    Mutant(
        "a list that is older than the run and takes nobody is gone",
        "syncs/delivery/outcomes.py",
        "if facts.is_list and not facts.made_list:",
        "if False:",
        (REFUSED,),
    ),
    # Drivers, renames.
    Mutant(
        "every transaction of a driver checks its lease",
        "syncs/delivery/lease.py",
        "    if cursor.rowcount != 1:\n        raise LeaseLost\n",
        "",
        (
            "syncs/tests/test_lease.py",
            "tests/test_chaos.py::test_a_driver_that_was_frozen_past_its_lease_writes_nothing",
        ),
    ),
    Mutant(
        "a thread starts no request that may outlast the lease",
        "syncs/delivery/sender.py",
        "if self.lease.remaining() <= self.endpoint.deadline:",
        "if False:",
        (LIFECYCLE,),
    ),
    Mutant(
        "a new name is filled when the old one is empty",
        "syncs/lifecycle.py",
        "follow_up(run, trigger=Trigger.RENAMED, mode=RunMode.FULL)",
        "run.refresh_from_db()",
        (LIFECYCLE,),
    ),
    Mutant(
        "a plan counts just whom it names",
        "syncs/plan.py",
        'sum(len(page) for page in self._chosen(step, "", None))',
        'sum(len(page) - len(self._rejected(page)) for page in self._pages(step, ""))',
        ("syncs/tests/test_plan_table.py",),
    ),
    Mutant(
        "approval is of users, not of so many",
        "cohorts/members.py",
        "len(versions_left) < len(page) or not approved.issuperset(versions_left)",
        "len(versions_left) < len(page) and not approved.issuperset(versions_left)",
        (LIFECYCLE,),
    ),
    # What people see, and decide.
    Mutant(
        "told: an approval is for what would be done now",
        "syncs/guard.py",
        "return (run.from_version, run.to_version) == (sync.settled_version, sync.aim(run.mode)[0])",
        "return True",
        (LIFECYCLE,),
    ),
    Mutant(
        "told: what was asked for while an older version was sent follows",
        "syncs/lifecycle.py",
        "Run.objects.ask_again(run.pk, version=_version_to_ask_for(sync))",
        "pass",
        (REPORTED,),
    ),
    Mutant(
        "told: a failed try is kept when its run is taken up again",
        "syncs/models.py",
        "if taken and failed:",
        "if False:",
        (REPORTED,),
    ),
    Mutant(
        "told: a run before which its cohort was not calculated is not green",
        "syncs/reporting.py",
        "if run.cohort_error and run.state in DONE_RUNS",
        "if False",
        (REPORTED,),
    ),
    Mutant(
        "told: a need is the same as a value and as a query",
        "syncs/status/attention.py",
        "Q(destination__driver__opened__gt=0, last_state__in=OPEN_RUNS)",
        "Q(destination__driver__opened__gt=0)",
        ("tests/test_attention.py",),
    ),
    Mutant(
        "told: what a cohort names is calculated before it",
        "cohorts/calculate.py",
        "chain = in_order(with_named(cohort))",
        "chain = [cohort]",
        ("tests/test_cron.py",),
    ),
    Mutant(
        "told: a channel that fails keeps no other from its try",
        "syncs/alerts/sending.py",
        "FAILURES = (OSError, DeliveryError, SecretUnreadable)",
        "FAILURES = (DeliveryError, SecretUnreadable)",
        ("syncs/tests/test_alerts.py",),
    ),
    # Versions, secrets, addresses.
    Mutant(
        "every transaction of a refresh checks its claim",
        "cohorts/refresh.py",
        "with transaction.atomic():\n            self.renew()\n            yield",
        "with transaction.atomic():\n            yield",
        ("cohorts/tests/test_refresh.py", "cohorts/tests/test_processes.py"),
    ),
    Mutant(
        "what undoes a dead refresh checks its claim",
        "cohorts/refresh.py",
        "                self.renew()\n                if not page(WRITES):",
        "                if not page(WRITES):",
        ("tests/test_projection.py::test_a_refresh_that_lost_its_claim_takes_nothing_of_its_successors",),
    ),
    Mutant(
        "no secret in what is kept of a reply",
        "destinations/transport.py",
        'text = endpoint.redact(body[:look_at].decode(errors="replace").replace("\\0", ""))',
        'text = body[:look_at].decode(errors="replace").replace("\\0", "")',
        ("destinations/tests/test_transport.py", "destinations/tests/test_secrets.py"),
    ),
    Mutant(
        "only allowed addresses are connected to",
        "destinations/transport.py",
        "if is_allowed(address[1][0], line.endpoint.allow_nets)]",
        "]",
        ("destinations/tests/test_transport.py", "destinations/tests/test_addresses.py"),
    ),
]


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], only="")
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.rule]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        broken = fails(copy, tuple(tests), histories="20")
        lived = []
        for mutant in [] if broken else chosen:
            began = time.monotonic()
            noticed = play(copy, mutant)
            lived += [] if noticed else [mutant.rule]
            line = {"rule": mutant.rule, "noticed": noticed, "seconds": round(time.monotonic() - began)}
            print(json.dumps(line), flush=True)
    figures = {"mutants": len(chosen), "lived": lived, "tests_pass_without": not broken}
    fixtures.finish(figures, passed=not broken and not lived)


def play(copy: Path, mutant: Mutant) -> bool:
    """Put the mistake into the copy, return whether a test fails, and take it out again."""
    path = copy / mutant.file
    code = path.read_text()
    path.write_text(mutated(code, mutant))
    try:
        return fails(copy, mutant.tests)
    finally:
        path.write_text(code)


def mutated(code: str, mutant: Mutant) -> str:
    """Return the code with the mistake; ValueError when the rule is not found there just once."""
    if code.count(mutant.old) != 1:
        raise ValueError(f"{mutant.rule}: its text stands {code.count(mutant.old)} times in {mutant.file}.")
    return code.replace(mutant.old, mutant.new)


def fails(copy: Path, tests: tuple[str, ...], histories: str = HISTORIES) -> bool:
    """Run tests in the copy until the first failure; return whether there was one."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env={**os.environ, "HISTORIES": histories, "DATABASE_URL": "sqlite:///:memory:"},
        capture_output=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: a test failed; anything else is a mutant that is none
        raise RuntimeError(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
    return done.returncode == 1


if __name__ == "__main__":
    main()
