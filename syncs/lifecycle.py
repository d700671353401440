"""The life of syncs and runs: making runs, taking failed ones up again, ending those that a person does
not want; putting a sync away, taking it up again, renaming it, starting it over.
"""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from cohorts import members, refresh
from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion
from people import suppression
from syncs import guard
from syncs.choices import DRIVABLE_RUNS, OPEN_RUNS, UNDRIVEN, RunMode, RunState, Trigger
from syncs.models import Comparison, Driver, Rejection, Run, Sync

# Users whom a note names; it says how many more there are.
NAMED = 20


class CannotRun(Exception):
    """The sync cannot run now; the message says why and what to do."""


def start(
    sync: Sync, *, trigger: str, mode: str = RunMode.CHANGES, by: str = "", approved: bool = False
) -> Run:
    """Return the sync's open run, the failed one taken up again, or a new one.

    There is one open run at a time, whoever asks and however often. An open full run does for changes,
    too. A full or emptying run replaces another while nobody drives it; else CannotRun. A failed run goes
    on with its own target.
    """
    sync = Sync.objects.select_related("cohort", "destination", "projection").get(pk=sync.pk)
    if mode != RunMode.EMPTY and sync.cohort.suppressions < suppression.number():
        _leave_out_suppressed(sync)
    if sync.archived_at and mode != RunMode.EMPTY:
        raise CannotRun(f"{sync} is archived.")
    if sync.cohort.version == 0 and mode != RunMode.EMPTY:
        raise CannotRun(f"{sync.cohort.name} is not calculated yet: give it members first.")
    if sync.next_name:
        # A change of name goes on until it is done, whatever came in between.
        mode = RunMode.EMPTY
    if run := _open_run(sync, mode):
        Run.objects.ask_again(run.pk, version=_version_to_ask_for(sync))
        return run
    if mode == RunMode.CHANGES:
        last = sync.runs.order_by("-pk").first()
        if last and _goes_on(last, sync) and Run.objects.reopen(last.pk):
            last.refresh_from_db()
            return last
    try:
        with transaction.atomic():
            return create(sync, trigger=trigger, mode=mode, by=by, approved=approved)
    except IntegrityError:
        # Somebody else made one between our look and our insert.
        return sync.runs.get(state__in=OPEN_RUNS)


def _version_to_ask_for(sync: Sync) -> int:
    """Return the version that a run must have sent, or another follows."""
    behind = sync.projection is not None and sync.projection.projected_version < sync.cohort.version
    return sync.aim(RunMode.CHANGES)[0] + behind


def _leave_out_suppressed(sync: Sync) -> None:
    """Bring the cohort up to date with the list of suppressed people. CannotRun when that must wait."""
    try:
        refresh.apply_suppressions(sync.cohort_id)
    except refresh.RefreshError as error:
        raise CannotRun(f"Suppressed people cannot be taken out of {sync.cohort.name} yet: {error}") from None
    sync.cohort.refresh_from_db()


def create(sync: Sync, *, trigger: str, mode: str, by: str = "", approved: bool = False) -> Run:
    """Insert a pending run from what the partner holds to the cohort's latest version.

    A full run that is owed is made in place of one for changes.
    `approved`: the person has agreed to whatever it removes; a guard does not hold it.
    """
    sync = Sync.objects.select_related("cohort", "projection").get(pk=sync.pk)
    target, reach = sync.aim(mode)
    return Run.objects.create(
        sync=sync,
        mode=mode_owed(sync, mode),
        trigger=trigger,
        triggered_by=by,
        approved_by=by if approved else "",
        from_version=sync.settled_version,
        to_version=target,
        reach=reach,
        from_dirty=sync.dirty,
        repeat_from=sync.repeat_from,
    )


def repair(sync: Sync, comparison: Comparison, *, trigger: str, by: str = "") -> Run:
    """Insert a run that puts right what a comparison found. CannotRun while another run is open."""
    if sync.archived_at:
        raise CannotRun(f"{sync} is archived.")
    if sync.cohort.suppressions < suppression.number():
        _leave_out_suppressed(sync)
    target, reach = sync.aim(RunMode.REPAIR)
    try:
        with transaction.atomic():
            return Run.objects.create(
                sync=sync,
                comparison=comparison,
                mode=RunMode.REPAIR,
                trigger=trigger,
                triggered_by=by,
                from_version=sync.settled_version,
                to_version=target,
                reach=reach,
                from_dirty=sync.dirty,
            )
    except IntegrityError:
        raise CannotRun(f"A run of {sync} is under way: wait for it, or cancel it first.") from None


def go_back(sync: Sync, version: int, *, trigger: str, by: str = "") -> Run:
    """Set a sync to an older version of its cohort, and start the run that brings its partner there.

    It stays there until `go_on`. CannotRun when that version cannot be read any more.
    """
    sync = Sync.objects.select_related("cohort").get(pk=sync.pk)
    check_older(sync, version)
    if sync.next_name:
        raise CannotRun("Its name at the partner is being changed: go back when that is done.")
    with transaction.atomic():
        if not Sync.objects.pin(sync.pk, version=version, by=by):
            raise CannotRun(f"{sync} is archived.")
        _end_undriven(sync, f"The sync goes back to version {version}.")
        return start(sync, trigger=trigger, by=by)


def go_on(sync: Sync, *, trigger: str, by: str = "") -> Run:
    """Let a sync follow its cohort again, and start the run to the latest version."""
    cohort = Cohort.objects.get(pk=sync.cohort_id)
    with transaction.atomic():
        # Who was suppressed while it was set back was taken out, and may have come back to the cohort.
        if not Sync.objects.unpin(sync.pk, doubtful=cohort.suppressions > 0):
            raise CannotRun("It follows its cohort already.")
        _end_undriven(sync, "The sync goes on to the latest version.")
        return start(sync, trigger=trigger, by=by)


def check_older(sync: Sync, version: int) -> None:
    """Raise CannotRun unless this is an older version of the sync's cohort to which it can go back.

    Not where the partner knows people by something else than their ids: whether those of an older version
    are suppressed by now cannot be told.
    """
    if sync.projection_id or sync.destination.mapping is not None:
        raise CannotRun(f"{sync.destination} knows people by fields of their profiles: it cannot go back.")
    if not 0 < version < sync.cohort.version:
        raise CannotRun(f"Name a version before the latest, {sync.cohort.version}: there is none {version}.")
    try:
        members.readable(sync.cohort_id, version)
    except members.UnreadableVersion as error:
        raise CannotRun(str(error)) from None


def version_at(sync: Sync, moment: datetime) -> int:
    """Return which version of its cohort was the latest at a moment. CannotRun if there was none yet."""
    published = CohortVersion.objects.filter(cohort=sync.cohort_id, state=VersionState.PUBLISHED)
    found = published.filter(finished_at__lte=moment).order_by("-number").first()
    if found is None:
        raise CannotRun(f"At {moment:%Y-%m-%d %H:%M %Z} the cohort had no version that is known still.")
    return found.number


def _end_undriven(sync: Sync, reason: str) -> None:
    """End what waits to be sent and was planned for another version."""
    for waiting in sync.runs.filter(state__in=UNDRIVEN).exclude(mode=RunMode.EMPTY):
        Run.objects.end(waiting.pk, RunState.CANCELLED, reason=reason, among=UNDRIVEN)


def mode_owed(sync: Sync, mode: str) -> str:
    """Return the mode of a run that is asked for: full, as long as a full run is owed and changes are."""
    return RunMode.FULL if sync.full_owed and mode == RunMode.CHANGES else mode


def follow_up(run: Run, *, trigger: str, mode: str) -> None:
    """Insert the run that follows from this one, unless its sync was archived meanwhile."""
    if Sync.objects.filter(pk=run.sync_id, archived_at=None).exists():
        create(run.sync, trigger=trigger, mode=mode, by=run.triggered_by)


def catch_up(run: Run) -> None:
    """A run has settled: let another follow if its target is older than what was asked for.

    It is when the run was begun long ago (killed, failed, stopped), and taken up again as it was planned.
    """
    sync = Sync.objects.select_related("cohort", "projection").get(pk=run.sync_id)
    target, _ = sync.aim(RunMode.CHANGES)
    asked = Run.objects.values_list("asked_version", flat=True).get(pk=run.pk)
    wanted = target if run.reopened else asked
    held = run.from_version if run.mode == RunMode.REPAIR else run.to_version
    # A person has set it to an older version, or let it go on, while this run was sent.
    elsewhere = bool(asked) and held != target and (sync.pinned_version is not None or bool(run.reach))
    if run.mode != RunMode.EMPTY and (held < wanted or elsewhere):
        follow_up(run, trigger=Trigger.CAUGHT_UP, mode=RunMode.CHANGES)


def go_on_renamed(run: Run) -> None:
    """The partner holds nobody any more: if that was for a change of name, fill it under the next one."""
    sync = Sync.objects.get(pk=run.sync_id)
    if not sync.next_name:
        return
    others = Sync.objects.filter(destination=sync.destination_id).exclude(pk=sync.pk)
    if others.filter(external_name=sync.next_name).exists():
        Sync.objects.filter(pk=sync.pk).update(next_name="")
        run.note = f"Another sync took the name {sync.next_name!r} meanwhile: the old name stays."
    elif Sync.objects.adopt_name(sync.pk):
        run.note = _left_behind(sync)
    Run.objects.filter(pk=run.pk).update(note=run.note)
    follow_up(run, trigger=Trigger.RENAMED, mode=RunMode.FULL)


def cancel(run: Run, *, by: str) -> None:
    """Ask the run's driver to stop; a run that nobody drives ends at once. CannotRun if it has ended."""
    if not Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).update(cancel_requested=True, cancelled_by=by):
        raise CannotRun("The run has ended already.")
    driver = Driver.objects.filter(destination_id=run.sync.destination_id, until__isnull=False).first()
    among = OPEN_RUNS if driver is None else UNDRIVEN
    Run.objects.end(run.pk, RunState.CANCELLED, reason=f"Cancelled by {by}.", among=among)


def approve(run: Run, *, by: str) -> None:
    """Let a held run do what it would do now, in the name of a person.

    When the cohort has changed since it was held, it is planned anew; if that is still more than the guard
    allows, the person is asked about the new numbers: CannotRun says so. Also when it is not held any more.
    """
    held = Run.objects.select_related("sync__cohort", "sync__projection").get(pk=run.pk)
    current = (held.sync.settled_version, held.sync.aim(held.mode)[0])
    if held.state == RunState.HELD and (held.from_version, held.to_version) != current:
        plan = guard.plan_anew(held)
        reason = guard.why_hold(held, plan)
        if reason and Run.objects.hold_anew(held.pk, reason=reason, **guard.planned(held)):
            raise CannotRun(
                f"Nothing was approved, since the cohort has changed meanwhile. Now: {reason} "
                f"It would add {held.planned_adds or 0:,}. Look at it again, and then decide."
            )
    if not Run.objects.approve(held.pk, by=by, **guard.planned(held)):
        raise CannotRun("The run is no longer held: it was decided on already.")


def refuse(run: Run, *, by: str) -> None:
    """End a held run, in the name of a person; the partner keeps what it has. CannotRun if it is not held."""
    if not Run.objects.end(run.pk, RunState.CANCELLED, reason=f"Refused by {by}.", among=[RunState.HELD]):
        raise CannotRun("The run is no longer held: it was decided on already.")


def pause(sync: Sync, *, by: str) -> Run | None:
    """Let the schedule start nothing, and stop the run that goes on; return that run, if there is one.

    A held run goes on waiting for its decision. Raises CannotRun when there was nothing to pause or stop.
    """
    switched = Sync.objects.switch_off(sync.pk)
    going = sync.runs.filter(state__in=DRIVABLE_RUNS, cancel_requested=False).first()
    if going:
        cancel(going, by=by)
    elif not switched:
        raise CannotRun("It was paused already.")
    return going


def reset(sync: Sync, *, by: str = "") -> None:
    """Forget what the partner was believed to hold: the next run is full, with a new list.

    For a destination whose address or account has changed. Raises CannotRun while a run is under way.
    """
    with transaction.atomic():
        # The sync's row first, as a driver does that begins a run: one of the two waits for the other.
        Sync.objects.forget(sync.pk)
        sync.runs.filter(state__in=[*UNDRIVEN, RunState.FAILED]).update(
            state=RunState.CANCELLED,
            reason=f"The sync was started over by {by}." if by else "The sync was started over.",
            finished_at=Coalesce("finished_at", Now()),
        )
        if sync.runs.filter(state=RunState.RUNNING).exists():
            raise CannotRun(f"A run of {sync} is under way: cancel it first.")
        Rejection.objects.filter(sync=sync).delete()


def archive(sync: Sync, *, by: str, empty_first: bool) -> Run | None:
    """Put a sync away; with `empty_first`, remove everybody from the partner's list or property before.

    Returns the emptying run, if there is one. What the partner holds stays known, so that the same
    pair can be taken up again: see `restore`.
    """
    run = (
        start(sync, trigger=Trigger.PERSON, mode=RunMode.EMPTY, by=by, approved=True) if empty_first else None
    )
    if run is None:
        for opened in sync.runs.filter(state__in=OPEN_RUNS):
            cancel(opened, by=by)
    # People need not be told of it any more, unless the emptying fails.
    Sync.objects.filter(pk=sync.pk).update(archived_at=Now(), enabled=False, next_due_at=None, alerted="")
    return run


def holds_somebody(sync: Sync) -> bool:
    """Say whether the partner may hold users of the sync, those included that it did not let go."""
    if sync.settled_version or sync.dirty:
        return True
    return Rejection.objects.maybe_held().filter(sync=sync).exists()


def rename(sync: Sync, name: str, *, by: str) -> Run | None:
    """Change what the cohort is called at the partner: the list's name, or the property's key.

    The partner is emptied under the old name, and filled under the new one by a full run that follows
    by itself; both are resumed like any run. Returns the emptying run; None when nothing was sent yet.
    Raises CannotRun when another sync of the destination has the name, or a run is under way.
    """
    taken = Q(external_name=name) | Q(next_name=name)
    if Sync.objects.filter(taken, destination=sync.destination_id).exclude(pk=sync.pk).exists():
        raise CannotRun(f"Another sync of this destination has the name {name!r}.")
    untouched = Sync.objects.filter(pk=sync.pk, settled_version=0, dirty=False)
    if not holds_somebody(sync) and untouched.update(external_name=name, list_id=None):
        return None
    with transaction.atomic():
        Sync.objects.filter(pk=sync.pk).update(next_name=name)
        return start(sync, trigger=Trigger.RENAMED, mode=RunMode.EMPTY, by=by, approved=True)


def restore(sync: Sync) -> None:
    """Take an archived sync up again, with what its partner holds."""
    Sync.objects.filter(pk=sync.pk).update(archived_at=None, enabled=True)


def _goes_on(last: Run, sync: Sync) -> bool:
    """Say whether a failed run can be taken up again: nothing was forgotten or settled since it began.

    One that found its list gone begins anew; one that emptied goes on only when a person asks for it.
    """
    # Of a run that sent user ids to a destination that knows people by something else now.
    if sync.projection is None and sync.destination.mapping is not None:
        return False
    # Of whole lists only the latest counts, and one that was refused would be refused again.
    if sync.destination.replaces_lists and last.to_version != sync.aim(RunMode.CHANGES)[0]:
        return False
    begun = sync.dirty and last.from_version == sync.settled_version
    goes_on = last.mode not in (RunMode.EMPTY, RunMode.REPAIR)
    if sync.pinned_version is not None or last.reach:
        goes_on = goes_on and last.to_version == sync.pinned_version
    return last.state == RunState.FAILED and goes_on and begun


def _open_run(sync: Sync, mode: str) -> Run | None:
    run = sync.runs.filter(state__in=OPEN_RUNS).first()
    if run is None or run.mode == mode:
        return run
    if mode == RunMode.CHANGES and run.mode in (RunMode.FULL, RunMode.REPAIR):
        return run
    # A schedule must not undo what a person asked for.
    replaced = mode != RunMode.CHANGES and Run.objects.end(
        run.pk, RunState.CANCELLED, reason=f"Replaced by a run of mode {mode}.", among=UNDRIVEN
    )
    if not replaced:
        raise CannotRun(f"A run of {sync} is under way: wait for it, or cancel it first.")
    return None


def _left_behind(sync: Sync) -> str:
    """Say who stays at the partner under the name that the sync just gave up, or ''.

    Their rejections go on under the new name; for the old one nobody is left to try again.
    """
    held = Rejection.objects.maybe_held().filter(sync=sync).order_by("user_id")
    count = held.count()
    if not count:
        return ""
    names = ", ".join(held.values_list("user_id", flat=True)[:NAMED])
    more = f" and {count - NAMED:,} more" if count > NAMED else ""
    return (
        f"The partner did not take {count:,} users off the old name, “{sync.external_name}”: {names}{more}. "
        "Ask the partner to remove them there."
    )
