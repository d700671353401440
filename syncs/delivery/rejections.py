"""Users whom a partner did not take: kept, tried again at growing distance, forgotten when all is right."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from django.db.models.functions import Now

from destinations.errors import DeliveryError
from syncs.choices import BatchState, RejectionKind, RejectionState, RunMode, Step
from syncs.models import Batch, Rejection, Run

if TYPE_CHECKING:
    from syncs.plan import Plan

PAGE = 5_000
# A user is tried this often, then only when their membership changes or a person asks.
TRIES = 8

Due = tuple[Step, dict[str, Rejection]]


def due(run: Run, plan: "Plan", *, forget: Callable[[list[int]], None]) -> Iterator[Due]:
    """Yield the rejected users whose turn it is, by what the target says of them, a page at a time.

    Their turn is: when the runs that were to pass have passed; when their membership is another than
    the one that was tried; in a full or emptying run. Who is not in the target and cannot be at the
    partner needs no request: their rows' keys are given to `forget`.
    """
    last = 0
    while page := list(Rejection.objects.filter(sync_id=run.sync_id, pk__gt=last).order_by("pk")[:PAGE]):
        last = page[-1].pk
        wanted = plan.wants([rejection.user_id for rejection in page])
        adds: dict[str, Rejection] = {}
        removes: dict[str, Rejection] = {}
        for rejection in page:
            want = rejection.user_id in wanted
            if not want and not rejection.maybe_held:
                forget([rejection.pk])
            elif _is_due(rejection, want, run):
                (adds if want else removes)[rejection.user_id] = rejection
        for step, users in ((Step.ADD, adds), (Step.REMOVE, removes)):
            if users:
                yield step, users


def _is_due(rejection: Rejection, want: bool, run: Run) -> bool:
    if rejection.run_id == run.pk:
        return False
    if rejection.wanted != want or run.mode != RunMode.CHANGES:
        return True
    return rejection.state == RejectionState.WAITING and rejection.due_at_run <= run.sync.runs_done


def among(sync_id: int, user_ids: list[str]) -> dict[str, Rejection]:
    """Return the rows of those of the users who are rejected, by user."""
    return {r.user_id: r for r in Rejection.objects.filter(sync_id=sync_id, user_id__in=user_ids)}


def forget(keys: list[int]) -> None:
    """Drop rows of users for whom nothing is to be done any more."""
    for start in range(0, len(keys), PAGE):
        Rejection.objects.filter(pk__in=keys[start : start + PAGE]).delete()


def announce(batch: Batch, retried: Collection[Rejection]) -> None:
    """Before rejected users are sent again: from now on the partner may hold them.

    Until it is known how this try ended, their turn stays: a run that is cancelled has not taken it.
    """
    want = batch.step == Step.ADD
    rows = Rejection.objects.filter(pk__in=[rejection.pk for rejection in retried])
    rows.exclude(wanted=want).update(wanted=want, tries=0)
    rows.update(maybe_held=True, state=RejectionState.WAITING, due_at_run=0)
    for rejection in retried:
        if rejection.wanted != want:
            rejection.wanted, rejection.tries = want, 0


def settle(
    batch: Batch,
    retried: dict[str, Rejection],
    kind: str,
    users: dict[str, DeliveryError],
    *,
    adds: Callable[[str], bool],
) -> None:
    """Write a batch's rejected users: a new row each, or one try more in the row that there was.

    `kind`: a RejectionKind. `users`: each with what the partner said. `adds`: whether it was to bring a user
    there.
    """
    if not users:  # nearly each batch: the database is not asked about nobody
        return
    new = []
    # A canary is about somebody who may have been refused since it was planned.
    known = retried or among(batch.run.sync_id, list(users))
    for user_id, error in users.items():
        if old := known.get(user_id):
            _again(old, batch, kind, error)
        else:
            new.append(_first(batch, user_id, kind, error, adds(user_id)))
    Rejection.objects.bulk_create(new)


def _first(batch: Batch, user_id: str, kind: str, error: DeliveryError, wanted: bool) -> Rejection:
    run = batch.run
    # A clean run's first add of somebody who was not at the partner: then a refusal is certain.
    surely_absent = (
        wanted
        and kind == RejectionKind.REJECTED
        and run.mode == RunMode.CHANGES
        and not (run.from_dirty or run.repeat_from is not None or batch.unknown_outcome)
    )
    return Rejection(
        sync_id=run.sync_id,
        user_id=user_id,
        kind=kind,
        wanted=wanted,
        maybe_held=not surely_absent,
        code=error.code[:50],
        message=error.message,
        due_at_run=run.sync.runs_done + 1,
        run=run,
        last_at=Now(),
    )


def _again(old: Rejection, batch: Batch, kind: str, error: DeliveryError) -> None:
    tries = old.tries + 1
    state = RejectionState.SPENT if tries >= TRIES else RejectionState.WAITING
    Rejection.objects.filter(pk=old.pk).update(
        kind=kind,
        state=state,
        code=error.code[:50],
        message=error.message,
        tries=tries,
        # 1, 2, 4, 8 … runs apart.
        due_at_run=batch.run.sync.runs_done + 2 ** min(tries - 1, 20),
        run=batch.run,
        last_at=Now(),
    )


def forgive(retried: Iterable[Rejection], still: Iterable[str]) -> int:
    """Drop the rows of the retried users who are not among `still`; return how many."""
    keep = set(still)
    keys = [rejection.pk for rejection in retried if rejection.user_id not in keep]
    return Rejection.objects.filter(pk__in=keys).delete()[0]


def state_of(delivered: int, rejected: int, undelivered: int) -> BatchState:
    """Return how a batch ended, from the numbers of its users."""
    if not rejected and not undelivered:
        return BatchState.DELIVERED
    if delivered:
        return BatchState.NARROWED
    return BatchState.REJECTED if rejected else BatchState.UNDELIVERED
