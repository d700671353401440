"""How a sync stands: a label, a tone and one sentence. Values in, words out; the clock is passed in.

    a run is open ─▶ archived ─▶ cohort never calculated ─▶ paused ─▶ destination paused
             ─▶ the last run failed or was cancelled ─▶ the cohort is not what it should be by now
             ─▶ what the partner holds

The first that applies is told. Whether it needs a person is another question: see attention.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pagekit.times import ago
from syncs.choices import BatchState, RejectionState, RunMode, RunState

# A cohort that is not calculated this long after its time is out of date.
LATE = timedelta(minutes=15)


class Tone(StrEnum):
    """The colour of a label, by the name that the pages' templates know it by."""

    GOOD = "success"
    BUSY = "info"
    CARE = "warning"
    BAD = "danger"
    QUIET = "default"


RUN_TONES = {
    RunState.PENDING: Tone.BUSY,
    RunState.RUNNING: Tone.BUSY,
    RunState.PARKED: Tone.CARE,
    RunState.HELD: Tone.CARE,
    RunState.SUCCEEDED: Tone.GOOD,
    RunState.PARTIAL: Tone.CARE,
    RunState.FAILED: Tone.BAD,
    RunState.CANCELLED: Tone.QUIET,
}
BATCH_TONES = {
    BatchState.SENDING: Tone.BUSY,
    BatchState.PROCESSING: Tone.BUSY,
    BatchState.DELIVERED: Tone.GOOD,
    BatchState.NARROWED: Tone.CARE,
    BatchState.REJECTED: Tone.BAD,
    BatchState.UNDELIVERED: Tone.BAD,
}
REJECTION_TONES = {
    RejectionState.WAITING: Tone.CARE,
    RejectionState.SPENT: Tone.BAD,
    RejectionState.DISMISSED: Tone.QUIET,
}


def run_label(state: str, cohort_error: str) -> tuple[str, Tone]:
    """Return how a run is told: green only if its cohort was calculated as it should have been."""
    state = RunState(state)
    if cohort_error and state == RunState.SUCCEEDED:
        return "Succeeded, with an older version", Tone.CARE
    return state.label, RUN_TONES[state]


@dataclass(frozen=True, slots=True)
class LastRun:
    """A sync's latest run. `at`: when it ended, or began, or was made. `planned` is None until it was.

    `trouble`: what the partner answers while the run is tried again. `cohort_error`: why the cohort could not
    be calculated before it.
    """

    state: RunState
    at: datetime
    made_at: datetime
    mode: str = RunMode.CHANGES
    reason: str = ""
    target: int = 0
    done: int = 0
    planned: int | None = None
    cancelling: bool = False
    cancelled_by: str = ""
    begun: bool = False
    reopened: bool = False
    trouble: str = ""
    cohort_error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a sync. Versions are the cohort's; sizes are users; `now` is aware.

    `paused`: why the destination is paused, or None. `parked_until`: no request before then.
    `rejected`, `undelivered`: users whom the partner does not have right, since it did not take them, or
    since no request for them went through; but for those that a person dismissed.
    `failed`: the last run that ended by itself did so by failing, with `failed_reason`.
    `cohort_error`: why the cohort could not be calculated the last time; `cohort_due_at`: when it is to be.
    `maybe_held`: when the partner holds nobody else, those of them who may be there.
    `differs_at`: when a scheduled comparison found what is not put right yet (differing.py).
    """

    now: datetime
    version: int
    size: int
    settled: int
    held: int
    dirty: bool = False
    full_owed: bool = False
    rejected: int = 0
    undelivered: int = 0
    maybe_held: int = 0
    enabled: bool = True
    archived: bool = False
    pinned: int | None = None
    pinned_at: datetime | None = None
    pinned_by: str = ""
    next_due_at: datetime | None = None
    paused: str | None = None
    parked_until: datetime | None = None
    parked_reason: str = ""
    breaker_opened: bool = False
    driven: bool = False
    run: LastRun | None = None
    failed: bool = False
    failed_reason: str = ""
    never_ran: bool = False
    is_once: bool = False
    cohort_held: int | None = None
    cohort_error: str = ""
    cohort_failed_at: datetime | None = None
    cohort_due_at: datetime | None = None
    differs_at: datetime | None = None
    differs_missing: int = 0
    differs_strangers: int = 0

    @property
    def not_taken(self) -> int:
        return self.rejected + self.undelivered


@dataclass(frozen=True, slots=True)
class Attention:
    """What a sync needs a person for: `need` is an attention.Need, `alert` an AlertKind."""

    need: str
    label: str
    alert: str
    sentence: str


@dataclass(frozen=True, slots=True)
class State:
    label: str
    tone: Tone
    sentence: str


def state_of(facts: Facts) -> State:
    """Return how the sync stands at `facts.now`."""
    for tell in (
        *(_under_way, _archived, _never_calculated, _switched_off, _destination_paused, _stopped),
        *(_pinned, _cohort_waits, _cohort_failed, _cohort_late),
    ):
        if state := tell(facts):
            return state
    return _standing(facts)


def utc(at: datetime | None) -> str:
    """For what is stored or sent: nobody knows where it is read."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "–"


def users(number: int) -> str:
    return "1 user" if number == 1 else f"{number:,} users"


def _archived(facts: Facts) -> State | None:
    if not facts.archived:
        return None
    return State("Archived", Tone.QUIET, f"Archived; {_holds(facts)}.")


# --- a run is open ------------------------------------------------------------------------------


def _under_way(facts: Facts) -> State | None:
    tell = _OPEN.get(facts.run.state) if facts.run else None
    return tell(facts, facts.run) if tell and facts.run else None


_DOING = {RunMode.EMPTY: "Emptying the partner", RunMode.REPAIR: "Putting right what differed"}


def _running(facts: Facts, run: LastRun) -> State:
    if run.cancelling:
        return State("Stopping", Tone.CARE, "Being cancelled: what is in flight comes to its end.")
    done = f"{run.done:,} of {users(run.planned)}" if run.planned is not None else users(run.done)
    doing = _DOING.get(RunMode(run.mode), f"Sending version {run.target}")
    if run.trouble:
        sentence = f"{doing}: {done}. It is being tried again, because: {because(run.trouble)}"
        return State("Retrying", Tone.CARE, sentence)
    return State("Running", Tone.BUSY, f"{doing}: {done}, begun {ago(run.at, facts.now)}.")


def _pending(facts: Facts, run: LastRun) -> State:
    if waits := _destination_paused(facts) or _parked_until(facts):
        return waits
    more = f" {run.reason}" if run.reason else ""
    return State("Waiting", Tone.BUSY, f"Made {ago(run.at, facts.now)}, waits for a worker.{more}")


def _parked(facts: Facts, run: LastRun) -> State:
    waits = _destination_paused(facts) or _parked_until(facts)
    return waits or State("Waiting", Tone.BUSY, f"Goes on as soon as a worker is free. {run.reason}".strip())


def _held(facts: Facts, run: LastRun) -> State:
    return State("Held", Tone.CARE, f"Waits for a person to approve it: {because(run.reason)}")


_OPEN: dict[RunState, Callable[[Facts, LastRun], State]] = {
    RunState.PENDING: _pending,
    RunState.RUNNING: _running,
    RunState.PARKED: _parked,
    RunState.HELD: _held,
}


def _parked_until(facts: Facts) -> State | None:
    if facts.parked_until is None or facts.parked_until <= facts.now:
        return None
    until = f"Parked; goes on {ago(facts.parked_until, facts.now)}"
    return State("Parked", Tone.CARE, f"{until}, because: {because(facts.parked_reason)}")


# --- nothing is open ----------------------------------------------------------------------------


def _never_calculated(facts: Facts) -> State | None:
    if facts.version:
        return None
    return State("Not calculated yet", Tone.QUIET, "The cohort has no members yet: nothing can be sent.")


def _switched_off(facts: Facts) -> State | None:
    if facts.enabled:
        return None
    return State("Paused", Tone.QUIET, f"Its schedule is paused; {_holds(facts)}.")


def _destination_paused(facts: Facts) -> State | None:
    if facts.paused is None:
        return None
    return State("Destination paused", Tone.BAD, f"Nothing is sent, because: {because(facts.paused)}")


def _stopped(facts: Facts) -> State | None:
    """The last run failed or was cancelled, and what was said of it has not been overtaken."""
    run = facts.run
    if run and run.state == RunState.FAILED:
        why = f"{because(run.reason)}{_next(facts, ' Next run {}.')}"
        return State("Failed", Tone.BAD, f"The last run failed {ago(run.at, facts.now)}, because: {why}")
    if run and run.state == RunState.CANCELLED and facts.dirty:
        by = f" by {run.cancelled_by}" if run.cancelled_by else ""
        text = f"The last run was cancelled{by} {ago(run.at, facts.now)}: the partner may hold a part of it"
        return State("Cancelled", Tone.CARE, f"{text}{_next(facts)}{_owed(facts)}.")
    return None


def _cohort_waits(facts: Facts) -> State | None:
    if facts.cohort_held is None:
        return None
    text = f"Version {facts.cohort_held} of the cohort waits for a person to approve it; {_holds(facts)}"
    return State("Cohort held", Tone.CARE, f"{text}{_next(facts)}.")


def _cohort_failed(facts: Facts) -> State | None:
    if not facts.cohort_error:
        return None
    when = f" {ago(facts.cohort_failed_at, facts.now)}" if facts.cohort_failed_at else ""
    text = f"Its cohort could not be calculated{when}: {because(facts.cohort_error)}"
    return State("Cohort not calculated", Tone.BAD, f"{text} Meanwhile {_holds(facts)}{_next(facts)}.")


def _cohort_late(facts: Facts) -> State | None:
    if facts.cohort_due_at is None or facts.cohort_due_at >= facts.now - LATE:
        return None
    due = f"Its cohort was to be calculated {ago(facts.cohort_due_at, facts.now)}, and was not"
    return State("Cohort out of date", Tone.CARE, f"{due}; {_holds(facts)}{_next(facts)}.")


def _pinned(facts: Facts) -> State | None:
    if facts.pinned is None or facts.pinned_at is None:
        return None
    by = f" by {facts.pinned_by}" if facts.pinned_by else ""
    text = f"Set to version {facts.pinned} of {facts.version}{by} {ago(facts.pinned_at, facts.now)}"
    stays = "It stays there until somebody lets it go on."
    return State("Set back", Tone.CARE, f"{text}; {_holds(facts)}. {stays}")


def _standing(facts: Facts) -> State:
    if facts.settled == 0 and not facts.dirty:
        return _nothing_held(facts)
    if facts.settled == facts.version and not facts.dirty:
        return _equal(facts)
    return _behind(facts)


def _nothing_held(facts: Facts) -> State:
    run = facts.run
    if run and run.mode == RunMode.EMPTY:
        label, tone = ("Emptied but for some", Tone.CARE) if facts.maybe_held else ("Emptied", Tone.QUIET)
        text = f"The partner was emptied {ago(run.at, facts.now)}{_not_let_go(facts)}"
        return State(label, tone, f"{text}{_next(facts)}.")
    text = f"Nothing was sent yet; {users(facts.size)} wait for the first run"
    return State("Not sent yet", Tone.BUSY, f"{text}{_next(facts)}.")


def _equal(facts: Facts) -> State:
    when = f", {ago(facts.run.at, facts.now)}" if facts.run else ""
    text = f"Equal to version {facts.version}, {users(facts.held)}{when}"
    if not_right := _not_right(facts):
        text += f"; {not_right}"
        return State("Equal but for some", Tone.CARE, f"{text}{_next(facts)}.")
    return State("Equal", Tone.GOOD, f"{text}{_next(facts)}.")


def _not_right(facts: Facts) -> str:
    found = ((facts.rejected, "rejected"), (facts.undelivered, "not delivered"))
    return ", ".join(f"{users(number)} {words}" for number, words in found if number)


def _behind(facts: Facts) -> State:
    if facts.dirty:
        text = f"A run did not finish: {_holds(facts)}"
        return State("Behind", Tone.CARE, f"{text}{_next(facts)}{_owed(facts)}.")
    versions = facts.version - facts.settled
    behind = "1 version" if versions == 1 else f"{versions:,} versions"
    text = f"{behind} behind: {_holds(facts)}, the cohort is at {facts.version}"
    return State("Behind", Tone.CARE, f"{text}{_next(facts)}.")


def _owed(facts: Facts) -> str:
    return "; the next run names everybody, since a full one did not end" if facts.full_owed else ""


def _holds(facts: Facts) -> str:
    if facts.dirty:
        since = f"what came after version {facts.settled}" if facts.settled else "the cohort"
        return f"the partner may hold any part of {since}"
    if facts.settled == 0:
        return f"the partner holds nobody{_not_let_go(facts)}"
    return f"the partner holds version {facts.settled}, {users(facts.held)}"


def _not_let_go(facts: Facts) -> str:
    return f", but for {users(facts.maybe_held)} that it did not let go" if facts.maybe_held else ""


def _next(facts: Facts, words: str = "; next run {}") -> str:
    return words.format(ago(facts.next_due_at, facts.now)) if facts.next_due_at else ""


def because(reason: str) -> str:
    """Return a reason as the end of a sentence."""
    reason = reason.strip() or "no reason was recorded"
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
