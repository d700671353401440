"""Whether a person should see a run before it is sent: it would take away more than was agreed to."""

from dataclasses import replace

from cohorts import members
from cohorts.refresh import HALVED_ABOVE
from syncs.choices import RunMode, Step
from syncs.models import Run
from syncs.plan import Plan

PLANNED = (
    *("mode", "from_version", "to_version", "reach"),
    *("from_dirty", "repeat_from", "planned_adds", "planned_removes"),
)


def plan_anew(run: Run) -> Plan:
    """Let the run do what there is to do now: from what the partner holds to the cohort's latest version.

    Reads, and changes the run's values; writes nothing.
    """
    sync = run.sync
    run.from_version, run.from_dirty = sync.settled_version, sync.dirty
    run.to_version, run.reach = sync.aim(run.mode)
    run.repeat_from = None if run.mode == RunMode.REPAIR else sync.repeat_from
    if sync.full_owed and run.mode == RunMode.CHANGES:
        run.mode = RunMode.FULL
    plan = Plan.of(run)
    run.planned_adds, run.planned_removes = plan.count(Step.ADD), plan.count(Step.REMOVE)
    return plan


def planned(run: Run) -> dict[str, object]:
    """Return what was planned, by field."""
    return {name: getattr(run, name) for name in PLANNED}


def is_agreed(run: Run) -> bool:
    """Say whether a person has agreed to what this run does: to emptying, or to just these two versions."""
    if not run.approved_by or run.mode == RunMode.EMPTY:
        return bool(run.approved_by)
    sync = run.sync
    return (run.from_version, run.to_version) == (sync.settled_version, sync.aim(run.mode)[0])


def why_hold(run: Run, plan: Plan) -> str:
    """Return why a person should see this run first, or ''.

    A run is held that removes more users than the sync's guard allows (without one, its cohort's),
    unless each of them left in a version of the cohort that a person has approved. Of a repair, whoever is
    put right counts. Whose removal is only repeated does not: it was agreed to when it was first sent.
    """
    sync, cohort, removes = run.sync, run.sync.cohort, run.planned_removes or 0
    does = "remove"
    if plan.repeat_from is not None:
        plan = replace(plan, repeat_from=None)
        removes = plan.count(Step.REMOVE)
    if run.mode == RunMode.REPAIR:
        # A call that reads the wrong list makes everybody differ, on both sides.
        removes, does = run.planned or 0, "put right"
    elif members.all_left_approved(plan.cohort_id, plan.settled, plan.target, plan.users(Step.REMOVE)):
        return ""
    users = cohort.guard_users if sync.guard_users is None else sync.guard_users
    if users is not None and removes > users:
        return f"It would {does} {removes:,} users; the limit is {users:,}."
    percent = sync.guard_percent or cohort.guard_percent
    held = members.size_of(plan.cohort_id, plan.settled)
    if percent and removes * 100 > percent * max(held, 1):
        return f"It would {does} {removes:,} of {held:,} users; the limit is {percent} %."
    unlimited = users is None and not percent
    if sync.hold_if_halved and unlimited and held > HALVED_ABOVE and removes * 2 >= held:
        return (
            f"It would {does} {removes:,} of {held:,} users, half of them or more. If such a change is usual "
            "here, switch “ask when halved” off or set a limit of your own."
        )
    return ""
