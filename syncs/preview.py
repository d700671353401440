"""What a run would do, without doing it."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from destinations.endpoint import Kind
from destinations.payloads import Operation, external_name
from destinations.transport import describe
from syncs.choices import RunMode, Step
from syncs.delivery import rejections
from syncs.delivery.active import ActiveRun
from syncs.delivery.session import Session
from syncs.lifecycle import CannotRun, check_older, mode_owed
from syncs.models import Run, Sync
from syncs.plan import Plan

SAMPLE = 20


@dataclass(frozen=True)
class Preview:
    """Counts are of users, exact but for those that `at_least` names; samples hold the first, in user order.

    `held_back`: whom the cohort's source names and who are suppressed; `not_sendable`: members of whom the
    partner knows nothing that it could be sent. `first_request` is the request as it
    would be sent, the credential masked; '' when there is none. `whole_list`: how many users the list
    has that is sent, where a partner only knows whole lists, and `whole_list_requests` in how many requests
    (more, where users are so long that fewer fit into one); None for any other.
    """

    sync: str
    mode: str
    from_version: int
    to_version: int
    adds: int
    removes: int
    retries: int
    held_back: int
    not_sendable: int
    sample_adds: list[str]
    sample_removes: list[str]
    external_name: str
    creates_list: bool
    first_request: str
    whole_list: int | None
    whole_list_requests: int | None
    # Who moved after this version is among the counts, though an earlier run has sent them.
    repeat_from: int | None = None
    at_least: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As a command shows it, whose counts are whole."""
        return {name: value for name, value in asdict(self).items() if name != "at_least"}


def preview(
    sync: Sync, *, mode: str = RunMode.CHANGES, most: int | None = None, version: int | None = None
) -> Preview:
    """Return what a run of the sync would send now. Writes nothing and sends nothing.

    version: as if it were set to this older version; 0: as if it were not set to one.

    With `most`, it counts no further when there are so many: a page does not wait for a whole plan.
    Raises CannotRun, payloads.TemplateError or secrets.SecretUnreadable, with a sentence for a person.
    """
    if sync.cohort.version == 0:
        raise CannotRun(f"{sync.cohort.name} is not calculated yet: give it members first.")
    if sync.projection is None and sync.destination.mapping is not None and mode != RunMode.EMPTY:
        raise CannotRun(
            f"By what {sync.destination} knows these users is worked out by the next run, or by: "
            f"sync {sync} --dry-run"
        )
    mode = mode_owed(sync, mode)
    if version:
        check_older(sync, version)
    if version is not None:
        sync.pinned_version = version or None
    target, reach = sync.aim(mode)
    endpoint = sync.destination.endpoint()
    sync.external_name = sync.external_name or external_name(endpoint, sync.cohort.name, sync.cohort.key)
    run = Run(
        pk=0,  # none: Django refuses to ask for the batches of a run without a key
        sync=sync,
        mode=mode,
        from_version=sync.settled_version,
        to_version=target,
        reach=reach,
        from_dirty=sync.dirty,
        repeat_from=sync.repeat_from,
    )
    plan = Plan.of(run)
    active = ActiveRun(run, endpoint, None)
    adds, first_adds = _counted(plan, Step.ADD, most, max(SAMPLE, active.most))
    creates = endpoint.kind == Kind.LIST and sync.list_id is None and mode != RunMode.EMPTY
    creates &= bool(first_adds) or not active.needs_first_user
    removes, first_removes = _counted(plan, Step.REMOVE, most, max(SAMPLE, active.most))
    counts = {"adds": adds, "removes": removes, "retries": _retries(run, plan, most)}
    recorded = {"adds"} if plan.is_recorded(Step.ADD) else set()
    first = {Step.ADD: first_adds, Step.REMOVE: first_removes}
    replaces = endpoint.replaces_lists and any(counts.values())
    if replaces:
        if reason := plan.too_long(endpoint):
            raise CannotRun(reason)
        again = rejections.due(run, plan, forget=lambda keys: None)
        tried = {user for step, found in again if step == Step.ADD for user in found}
        first = {Step.ADD: list(plan.everyone(tried))}
    return Preview(
        sync=str(sync),
        mode=mode,
        from_version=run.from_version,
        to_version=run.to_version,
        **counts,
        held_back=0 if mode == RunMode.EMPTY else sync.cohort.held_back,
        not_sendable=sync.projection.held_back if sync.projection and mode != RunMode.EMPTY else 0,
        sample_adds=first_adds[:SAMPLE],
        sample_removes=first_removes[:SAMPLE],
        external_name=sync.external_name,
        creates_list=creates,
        first_request=_first_request(active, first, creates, replaces),
        whole_list=len(first[Step.ADD]) if replaces else None,
        whole_list_requests=max(-(-len(first[Step.ADD]) // active.most), 1) if replaces else None,
        repeat_from=plan.repeat_from,
        at_least=tuple(
            name for name, n in counts.items() if most is not None and n >= most and name not in recorded
        ),
    )


def _counted(plan: Plan, step: Step, most: int | None, wanted: int) -> tuple[int, list[str]]:
    """Return how many users a step has (`most`: there may be more) and the first of them, read once."""
    if plan.is_recorded(step):
        return plan.count(step), list(islice(replace(plan, page=wanted).users(step), wanted))
    users = plan.users(step)
    first = list(islice(users, wanted))
    return len(first) + sum(1 for _ in islice(users, None if most is None else max(most - wanted, 0))), first


def _retries(run: Run, plan: Plan, most: int | None) -> int:
    found = 0
    for _, users in rejections.due(run, plan, forget=lambda keys: None):
        found += len(users)
        if most is not None and found >= most:
            break
    return found


def _first_request(active: ActiveRun, first: dict[Step, list[str]], creates: bool, replaces: bool) -> str:
    if creates:
        somebody = active.known(Step.ADD, first[Step.ADD][:1])
        return describe(active.encode(Step.CREATE, somebody), active.endpoint)
    if active.mixes and all(first.values()):
        users, leaving = sorted(chain(*first.values()))[: active.most], set(first[Step.REMOVE])
        known = active.known(Step.CHANGE, users, leaving)
        return describe(active.encode(Step.CHANGE, known, leaving), active.endpoint)
    if active.has_parts and replaces:
        users = active.known(Step.ADD, first[Step.ADD])
        part = Session(users, active.most, fits=partial(active.encoder.fits, Operation.ADD))
        return describe(active.encode(Step.ADD, part.piece, part=part.part), active.endpoint)
    for step, users in first.items():
        if users or replaces:
            return describe(active.encode(step, active.known(step, users[: active.most])), active.endpoint)
    return ""
