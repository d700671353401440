"""Erasing a person from syncs: proof that every partner let go, then rejections, excerpts and notes."""

from typing import Any, NamedTuple

from django.db.models import F, Q

from cohorts import members
from cohorts.models import Member
from people.scrubbing import Scrubber
from syncs import links
from syncs.choices import DONE_RUNS, OPEN_RUNS, REMOVING, RunMode
from syncs.models import (
    Alert,
    AlertDelivery,
    Attempt,
    Batch,
    Comparison,
    Difference,
    Rejection,
    Run,
    Sync,
    Try,
)

NEVER = "The partner never had them, or its list was emptied or is gone."
SHARED = "What the partner knows them by is somebody else's, too, and stays as theirs."


class Times(NamedTuple):
    """When a user was in what is sent: the first version with them, and the last boundary; in now or not.

    `names`: what the partner knows them by, each with the last boundary of its own.
    """

    entered: int
    last: int
    inside: bool
    names: dict[str, int]


def syncs_of(user_id: str) -> list[tuple[Sync, Times]]:
    """Return the syncs whose partner may ever have heard of the user, archived ones too."""
    plain = Sync.objects.filter(projection=None)
    mine = Member.objects.filter(cohort__in=plain.order_by().values("cohort"), user_id=user_id)
    intervals: dict[int, list[links.Interval]] = {}
    for member in mine:
        pair = (member.entered_version, member.left_version)
        intervals.setdefault(member.cohort_id, []).append(pair)
    known = links.intervals_of(user_id)
    refused = Rejection.objects.filter(user_id=user_id).values("sync")
    concerned = Q(cohort__in=intervals, projection=None) | Q(projection__in=known) | Q(pk__in=refused)
    syncs = Sync.objects.filter(concerned).select_related("cohort", "destination").order_by("pk")
    return [(sync, _times_at(sync, user_id, intervals, known)) for sync in syncs]


def _times_at(
    sync: Sync,
    user_id: str,
    intervals: dict[int, list[links.Interval]],
    known: dict[int, dict[str, list[links.Interval]]],
) -> Times:
    if sync.projection_id is None:
        return _times({user_id: intervals.get(sync.cohort_id, [])})
    return _times(known.get(sync.projection_id) or {user_id: []})


def _times(known: dict[str, list[links.Interval]]) -> Times:
    numbers = {name: [number for pair in pairs for number in pair if number] for name, pairs in known.items()}
    every = [number for of_name in numbers.values() for number in of_name] or [0]
    inside = any(left is None for pairs in known.values() for _, left in pairs)
    names = {name: max(of_name, default=0) for name, of_name in numbers.items()}
    return Times(min(every), max(every), inside, names)


def waits_for(user_id: str) -> list[str]:
    """Return, in sentences, which partners may still hold the user, and what they wait for."""
    return [f"{sync}: {why}" for sync, why in holders_of(user_id)]


def holders_of(user_id: str) -> list[tuple[Sync, str]]:
    """Return the syncs whose partner may hold the user, each with what it waits for to take them off."""
    return [(sync, why) for sync, times in syncs_of(user_id) if (why := _wait(sync, times))]


def _wait(sync: Sync, times: Times) -> str:
    runs = sync.runs.filter(state__in=OPEN_RUNS)
    old = runs.filter(to_version__gte=times.entered, to_version__lt=times.last).exists()
    never = not sync.dirty and sync.settled_version < times.entered and not old
    rejected = Rejection.objects.maybe_held().filter(sync=sync, user_id__in=[*times.names]).first()
    nothing_held = sync.settled_version == 0 and not sync.dirty and not old
    removed = sync.settled_version >= times.last and not sync.dirty and not old and not times.inside
    if sync.pinned_version is not None and not sync.dirty:
        # It stays at a version that has them; a run that knew of the version without them took them out.
        knew = sync.runs.filter(state__in=DONE_RUNS, reach__gte=times.last).exists()
        removed = removed or (knew and not old and not times.inside)
    # A request without an answer may be acted on late: the removal is sent once more before it is believed.
    if sync.repeat_from is not None and sync.repeat_from < times.last:
        removed = False
    if rejected is None and (never or nothing_held or removed):
        return ""
    return _why(sync, rejected)


def _why(sync: Sync, rejected: Rejection | None) -> str:
    if sync.archived_at:
        return "it is archived, and its partner may hold them: restore it and run it, or empty it."
    if sync.destination.paused_at:
        return f"its destination is paused: {sync.destination.pause_reason or 'resume it'}"
    if rejected is not None:
        return f"the partner did not take them off: {rejected.message}"
    run = sync.runs.filter(state__in=OPEN_RUNS).first()
    if run is not None:
        return f"run {run.pk} is {run.get_state_display().lower()}. {run.reason}".strip()
    if not sync.enabled:
        return "it is switched off: switch it on, or run it by hand."
    return "its next run takes them off."


def evidence(user_id: str) -> list[dict[str, Any]]:
    """Return, of each partner, the run, batch and reply that took the user off. It names nobody."""
    return [_proof(sync, times, user_id) for sync, times in syncs_of(user_id)]


def _proof(sync: Sync, times: Times, user_id: str) -> dict[str, Any]:
    said: dict[str, Any] = {"sync": str(sync), "partner": sync.destination.base_url}
    # Who was known by one thing after the other left by the last of these.
    shared = links.first_of(sync.projection_id, [*times.names]) if sync.projection_id else {}
    own = {name: last for name, last in times.names.items() if name not in shared}
    batches = [one for name, last in own.items() if (one := _removing(sync, last, name))]
    batch = max(batches, key=lambda one: one.pk, default=None)
    if batch is None:
        return said | {"removed": SHARED if shared else NEVER}
    reply = batch.reply_head
    for name in (user_id, *times.names):
        reply = Scrubber(name).text(reply)
    return said | {
        "removed": batch.settled_at and batch.settled_at.isoformat(),
        "run": batch.run_id,
        "batch": batch.number,
        "status": batch.status,
        "reply": reply[:1_000],
    }


def _removing(sync: Sync, last: int, name: str) -> Batch | None:
    """Return the batch that took a name off, if there was one."""
    removing = Batch.objects.filter(run__sync=sync, step__in=REMOVING, delivered__gt=0)
    # Tried again on their own, after the partner had refused to take them off.
    named = removing.filter(user_ids__isnull=False).order_by("-pk")[:1_000]
    batch = next((one for one in named if name in (one.user_ids or [])), None)
    knew = Q(to_version__gte=last) | Q(reach__gte=last)
    past = sync.runs.filter(knew, state__in=DONE_RUNS).exclude(mode=RunMode.REPAIR).order_by("pk").first()
    if batch or past is None:
        return batch
    within = removing.filter(run=past, user_ids__isnull=True, first_user__lte=name, last_user__gte=name)
    return within.first()


def erase(user_id: str) -> dict[str, int]:
    """Erase the user; return how much of what there was. No partner may hold them: see `waits_for`."""
    found = _forget_name(user_id)
    for projection_id, keys in links.intervals_of(user_id).items():
        # What somebody else is known by, too, stays.
        for key in keys.keys() - links.first_of(projection_id, [*keys]).keys():
            found["keys"] = found.get("keys", 0) + members.erase(projection_id, key)
            for what, number in _forget_name(key).items():
                found[what] += number
        links.erase(projection_id, user_id)
    return found


def _forget_name(name: str) -> dict[str, int]:
    scrubber = Scrubber(name)
    rejections = Rejection.objects.filter(user_id=name).delete()[0]
    heads = ("message", "request_head", "reply_head")
    texts = scrubber.rows(Batch.objects.order_by(), *heads)
    texts += scrubber.rows(Attempt.objects.order_by(), *heads)
    texts += scrubber.rows(Run.objects.order_by(), "reason", "note", "trouble", "cohort_error")
    texts += scrubber.rows(Try.objects.order_by(), "reason")
    texts += scrubber.rows(Alert.objects.order_by(), "sentence")
    texts += scrubber.rows(AlertDelivery.objects.order_by(), "error")
    texts += scrubber.rows(Rejection.objects.order_by(), "message")
    texts += scrubber.rows(Comparison.objects.order_by(), "error")
    differences = Difference.objects.filter(user_id=name).delete()[0]
    return {
        "rejections": rejections,
        "differences": differences,
        "texts": texts,
        "batches": _batches(name),
    }


def _batches(user_id: str) -> int:
    """Take the user out of what batches are found by. Their runs have ended: no range is read again."""
    changed = 0
    for batch in Batch.objects.filter(user_ids__isnull=False).only("pk", "user_ids").iterator():
        ids = batch.user_ids or []
        if user_id in ids:
            others = [one for one in ids if one != user_id]
            changed += Batch.objects.filter(pk=batch.pk).update(user_ids=others)
    alone = Batch.objects.filter(first_user=user_id, last_user=user_id)
    changed += alone.update(first_user="", last_user="")
    # The range keeps its other end.
    changed += Batch.objects.filter(first_user=user_id).update(first_user=F("last_user"))
    return changed + Batch.objects.filter(last_user=user_id).update(last_user=F("first_user"))
