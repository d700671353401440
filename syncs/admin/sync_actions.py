"""What a person can do to a sync."""

from collections.abc import Callable

from django.utils import timezone

from syncs import comparing, lifecycle
from syncs.admin import run
from syncs.admin.history import RunAction
from syncs.choices import DRIVABLE_RUNS, OPEN_RUNS, CompareState, RunMode, RunState, Trigger
from syncs.models import Comparison, Run, Sync
from syncs.status.facts import facts_of
from syncs.status.state import users


def _run(mode: RunMode) -> Callable[[Sync, str], str]:
    def perform(sync: Sync, by: str) -> str:
        # Who asks for emptying has read that everybody goes: a guard need not ask again.
        asked = mode == RunMode.EMPTY
        made = lifecycle.start(sync, trigger=Trigger.PERSON, mode=mode, by=by, approved=asked)
        if made.state == RunState.HELD:
            raise lifecycle.CannotRun(
                f"Nothing is sent: run {made.pk} waits for a person to approve or refuse it. {made.reason}"
            )
        return run.said(made, f"Run {made.pk} is waiting: the worker sends it.")

    return perform


def _empty(sync: Sync, by: str) -> str:
    said = _run(RunMode.EMPTY)(sync, by)
    if not Sync.objects.switch_off(sync.pk):
        return said
    return f"{said} The sync is paused, so that its schedule does not fill the partner again."


def _pause(sync: Sync, by: str) -> str:
    stopped = lifecycle.pause(sync, by=by)
    if stopped is None:
        return "The sync is paused: its schedule starts nothing."
    return f"The sync is paused: its schedule starts nothing, and run {stopped.pk} is being stopped."


def _resume(sync: Sync, by: str) -> str:
    sync.reschedule(timezone.now())
    if not Sync.objects.switch_on(sync.pk, next_due_at=sync.next_due_at):
        raise lifecycle.CannotRun("It was not paused.")
    return "The sync follows its schedule again."


def _archive(sync: Sync, by: str) -> str:
    lifecycle.archive(sync, by=by, empty_first=False)
    return "The sync is archived; the partner keeps what it has."


def _empty_and_archive(sync: Sync, by: str) -> str:
    lifecycle.archive(sync, by=by, empty_first=True)
    return "The sync is archived; the worker empties the partner."


def _restore(sync: Sync, by: str) -> str:
    lifecycle.restore(sync)
    sync.reschedule(timezone.now())
    sync.save(update_fields=["next_due_at"])
    return "The sync is taken up again, from what its partner holds."


def _reset(sync: Sync, by: str) -> str:
    lifecycle.reset(sync, by=by)
    return "Forgotten: the next run sends everybody, to a new list if the destination has lists."


def _rename(sync: Sync, by: str, name: str) -> str:
    if name == sync.external_name:
        raise lifecycle.CannotRun("That is its name already.")
    emptying = lifecycle.rename(sync, name, by=by)
    if emptying is None:
        return "Renamed: nobody is there under the old name, so nothing is sent."
    return f"Run {emptying.pk} empties the partner under the old name; a full run under the new one follows."


def _go_back(sync: Sync, by: str, text: str) -> str:
    if not text.isascii() or not text.isdecimal():
        raise lifecycle.CannotRun("Name a version by its number.")
    made = lifecycle.go_back(sync, int(text[:9]), trigger=Trigger.PERSON, by=by)
    return run.said(made, f"The sync is set to version {text}; run {made.pk} brings the partner there.")


def _go_on(sync: Sync, by: str) -> str:
    made = lifecycle.go_on(sync, trigger=Trigger.PERSON, by=by)
    return run.said(made, f"The sync follows its cohort again; run {made.pk} brings the partner there.")


def _going_back(sync: Sync) -> str:
    return (
        f"The partner is brought back to what the cohort was in that version ({sync.cohort.version} is the "
        "latest), and stays there: its schedule sends nothing newer until somebody lets it go on. Who was "
        "suppressed meanwhile is left out. “Versions” shows what would be sent."
    )


def can_go_back(sync: Sync) -> bool:
    return sync.cohort.version > 1 and sync.projection_id is None


def _going_on(sync: Sync) -> str:
    return f"A run brings {sync.destination} to version {sync.cohort.version} of “{sync.cohort}”."


def _compare(sync: Sync, by: str) -> str:
    comparing.ask(sync, trigger=Trigger.PERSON, by=by)
    return "The worker reads back what the partner has; the result will stand on this page."


def _repair(*, strangers: bool) -> Callable[[Sync, str], str]:
    def perform(sync: Sync, by: str) -> str:
        last = sync.comparisons.filter(state=CompareState.DONE).first()
        made = last and comparing.repair(last, trigger=Trigger.PERSON, by=by, remove_strangers=strangers)
        if not made:
            raise lifecycle.CannotRun("There is nobody to be put right.")
        return run.said(made, f"Run {made.pk} is waiting: the worker puts right what differs.")

    return perform


def _differs(sync: Sync) -> Comparison | None:
    """Return the last comparison if it found somebody who differs, and nobody has put that right yet."""
    if not sync.destination.read_path:
        return None
    last = sync.comparisons.filter(state=CompareState.DONE).first()
    return last if last and last.differs and not _open_run(sync) else None


def _has_strangers(sync: Sync) -> bool:
    last = _differs(sync)
    return bool(last and last.strangers and not (_was_repaired(last) and last.removes_strangers))


def _has_missing(sync: Sync) -> bool:
    last = _differs(sync)
    return bool(last and last.missing and not _was_repaired(last))


def _was_repaired(comparison: Comparison) -> bool:
    return comparison.repair_runs.filter(state=RunState.SUCCEEDED).exists()


def _putting_right(sync: Sync) -> str:
    last = _differs(sync)
    if last is None:
        return ""
    return (
        f"{users(last.missing)} who should be at {sync.destination} and were not are added, and nobody else "
        f"is sent. {users(last.strangers)} who should not be there, as far as this site knows, stay."
    )


def _putting_all_right(sync: Sync) -> str:
    last = _differs(sync)
    if last is None:
        return ""
    return (
        f"{users(last.missing)} are added to {sync.destination}, and {users(last.strangers)} removed, "
        "whoever put them there."
    )


def _is_live(sync: Sync) -> bool:
    return sync.archived_at is None


# --- the run that is open -----------------------------------------------------------------------


def _open_run(sync: Sync, *states: RunState) -> Run | None:
    """Return the sync's open run if it is in one of the states; looked up once for a page."""
    if "open_run" not in vars(sync):
        vars(sync)["open_run"] = sync.runs.filter(state__in=OPEN_RUNS).first()
    found: Run | None = vars(sync)["open_run"]
    return found if found and (not states or found.state in states) else None


def _of_open_run(action: Callable[[Run, str], str], *states: RunState) -> Callable[[Sync, str], str]:
    """Return an action of the sync that is done to its open run."""

    def perform(sync: Sync, by: str) -> str:
        opened = _open_run(sync, *states)
        if opened is None:
            raise lifecycle.CannotRun("Its run has ended, or was decided on, meanwhile.")
        return action(opened, by)

    return perform


def _words_of_open_run(words: Callable[[Run], str]) -> Callable[[Sync], str]:
    def made(sync: Sync) -> str:
        opened = _open_run(sync)
        return words(opened) if opened else ""

    return made


def _can_be_stopped(sync: Sync) -> bool:
    opened = _open_run(sync, *DRIVABLE_RUNS)
    return opened is not None and not opened.cancel_requested


# --- what is asked before -----------------------------------------------------------------------


def _there(sync: Sync) -> str:
    """Return how many users the partner holds, in words: a number can be known only if no run was left."""
    facts = facts_of([sync], timezone.now())[sync.pk]
    if facts.dirty:
        return f"the users at {sync.destination} ({facts.held:,}, and those of a run that did not finish)"
    return f"the {users(facts.held)} at {sync.destination}"


def _ask_before_running(sync: Sync) -> str:
    return "" if sync.enabled else "Run it although it is paused?"


def _running_once(sync: Sync) -> str:
    return (
        f"One run brings {sync.destination} to version {sync.cohort.version} of “{sync.cohort}”, "
        f"{users(sync.cohort.size)}. Its schedule stays paused."
    )


def _ask_before_pausing(sync: Sync) -> str:
    return "Pause it, and stop the run that is going on?" if _can_be_stopped(sync) else ""


def _emptying(sync: Sync) -> str:
    return (
        f"All that this sync has put there, {_there(sync)}, are removed: from the list, or by setting the "
        "property to false. The sync is paused as well, so that its schedule does not fill it again."
    )


def _sending_all(sync: Sync) -> str:
    return (
        f"All {users(sync.cohort.size)} of “{sync.cohort}” are sent to {sync.destination} again, not only "
        "those who moved. Use it when the partner may have lost users without a word. Who left meanwhile "
        "is removed."
    )


def _starting_over(sync: Sync) -> str:
    return (
        f"For a destination whose address or account has changed. Nothing is sent now; {_there(sync)} are "
        "forgotten and stay at the old address, rejected users and open runs are dropped, and the next run "
        f"sends all {users(sync.cohort.size)} of “{sync.cohort}”."
    )


def _renaming(sync: Sync) -> str:
    if not lifecycle.holds_somebody(sync):
        return f"Nobody is at {sync.destination}: only the name is changed, for the next run."
    return (
        f"Under the old name, {_there(sync)} are removed; a full run that follows by itself sends them under "
        "the new one."
    )


def _emptying_and_archiving(sync: Sync) -> str:
    return f"All that this sync has put there, {_there(sync)}, are removed by one last run."


# Offered on the page of a comparison.
COMPARING = ("compare", "repair", "repair-all")
ACTIONS = (
    RunAction(
        "approve",
        "Approve",
        "check",
        _of_open_run(run.approve, RunState.HELD),
        lambda sync: _open_run(sync, RunState.HELD) is not None,
        question="Let the held run do what it would do?",
        consequence=_words_of_open_run(run.would_do),
        variant="primary",
    ),
    RunAction(
        "refuse",
        "Refuse",
        "block",
        _of_open_run(run.refuse, RunState.HELD),
        lambda sync: _open_run(sync, RunState.HELD) is not None,
        question="End the held run without sending it?",
        consequence=lambda sync: (
            f"{sync.destination} keeps what it has. The next run plans anew, and may be held again."
        ),
        variant="danger",
    ),
    RunAction(
        "run",
        "Run now",
        "play_arrow",
        _run(RunMode.CHANGES),
        lambda sync: _is_live(sync) and not _open_run(sync, RunState.HELD, RunState.PARKED),
        question=_ask_before_running,
        consequence=_running_once,
        variant="primary",
    ),
    RunAction(
        "try-now",
        "Try again now",
        "play_arrow",
        _of_open_run(run.try_now, RunState.PARKED),
        lambda sync: _open_run(sync, RunState.PARKED) is not None,
        variant="primary",
    ),
    RunAction(
        "cancel",
        "Cancel the run",
        "stop",
        _of_open_run(run.cancel, *DRIVABLE_RUNS),
        _can_be_stopped,
        question="Cancel the run that is going on?",
        consequence=_words_of_open_run(run.has_done),
        variant="danger",
    ),
    RunAction(
        "pause",
        "Pause",
        "pause",
        _pause,
        lambda sync: _is_live(sync) and sync.enabled,
        question=_ask_before_pausing,
        consequence=_words_of_open_run(run.has_done),
    ),
    RunAction(
        "resume",
        "Resume",
        "schedule",
        _resume,
        lambda sync: _is_live(sync) and not sync.enabled,
    ),
    RunAction(
        "full",
        "Full resync",
        "restart_alt",
        _run(RunMode.FULL),
        _is_live,
        question="Send everybody again?",
        consequence=_sending_all,
    ),
    RunAction(
        "go-on",
        "Go on",
        "update",
        _go_on,
        lambda sync: _is_live(sync) and sync.pinned_version is not None,
        question="Follow the cohort again?",
        consequence=_going_on,
        variant="primary",
    ),
    RunAction(
        "go-back",
        "Go back",
        "history",
        _go_back,
        lambda sync: _is_live(sync) and can_go_back(sync) and lifecycle.holds_somebody(sync),
        question="Set the sync to an older version?",
        consequence=_going_back,
        text="Number of the version",
        initial=lambda sync: str(sync.pinned_version or sync.cohort.version - 1),
        listed=False,
    ),
    RunAction(
        "compare",
        "Compare with the partner",
        "difference",
        _compare,
        lambda sync: _is_live(sync) and not comparing.why_not(sync),
    ),
    RunAction(
        "repair",
        "Add who is missing",
        "build",
        _repair(strangers=False),
        _has_missing,
        question="Add who is missing at the partner?",
        consequence=_putting_right,
        listed=False,
    ),
    RunAction(
        "repair-all",
        "Put right, and remove strangers",
        "build",
        _repair(strangers=True),
        _has_strangers,
        question="Remove strangers from the partner, too?",
        consequence=_putting_all_right,
        listed=False,
        variant="danger",
    ),
    RunAction(
        "empty",
        "Empty the partner",
        "delete_sweep",
        _empty,
        # Of an archived one, too: its emptying may have failed.
        lifecycle.holds_somebody,
        question="Remove everybody from the partner?",
        consequence=_emptying,
        variant="danger",
        rare=True,
    ),
    RunAction(
        "rename",
        "Rename at the partner",
        "edit",
        _rename,
        lambda sync: _is_live(sync) and bool(sync.external_name),
        question="What should it be called at the partner?",
        consequence=_renaming,
        text="Name at the partner",
        initial=lambda sync: sync.external_name,
        permission="syncs.change_sync",
        rare=True,
    ),
    RunAction(
        "reset",
        "Start over",
        "ink_eraser",
        _reset,
        lambda sync: _is_live(sync) and (lifecycle.holds_somebody(sync) or bool(sync.fingerprint)),
        question="Forget what the partner holds?",
        consequence=_starting_over,
        permission="syncs.change_sync",
        variant="danger",
        rare=True,
    ),
    RunAction(
        "archive",
        "Archive",
        "archive",
        _archive,
        _is_live,
        question="Archive this sync?",
        consequence="It does not run any more and leaves the list; its history stays. The partner keeps "
        "what it has, unless it is emptied first. Adding the same pair again takes it up.",
        instead="empty-and-archive",
        permission="syncs.delete_sync",
        rare=True,
    ),
    RunAction(
        "empty-and-archive",
        "Empty the partner, then archive",
        "delete_sweep",
        _empty_and_archive,
        lambda sync: _is_live(sync) and lifecycle.holds_somebody(sync),
        question="Empty the partner, and archive this sync?",
        consequence=_emptying_and_archiving,
        listed=False,
        permission="syncs.delete_sync",
        variant="danger",
    ),
    RunAction(
        "restore",
        "Take up again",
        "unarchive",
        _restore,
        lambda sync: not _is_live(sync),
        permission="syncs.delete_sync",
    ),
)
