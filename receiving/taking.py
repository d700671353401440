"""Apply what was read of a Segment or Amplitude body: events to disk, then traits in one transaction."""

from typing import Any

from receiving import store, traits
from receiving.call import Call
from receiving.incoming import hand_on
from receiving.shapes import MOST_NAMED, Batch, Change


def take(call: Call, batch: Batch) -> dict[str, Any]:
    """Apply a batch and return the counts of the reply. Raises ApiError, and then nothing is applied.

    What is not applied is counted: as ignored, as repeated, or as refused, by the caller's index.
    """
    workspace = call.workspace
    changes = _of_taken_users(call, batch)
    operated = traits.operated_users(changes)
    # From here on the call is not refused.
    if not store.is_repeat(workspace, call.idempotency_key):
        new = changes if call.is_replay else store.not_yet_seen(workspace, changes)
        lines = [one.line for one in new if one.line is not None and one.user_id not in operated]
        hand_on(workspace, batch.events, [*lines, *batch.owner_lines()])
    with call.writing(anything=bool(changes or call.idempotency_key)) as counts:
        first = _first(call, changes)
        counts |= {
            "received": batch.received,
            "identified": len(first),
            "repeated": len(changes) - len(first),
            "ignored": batch.ignored,
        }
        counts["changed"] = _write(call, first, operated)
        _name_the_rest(call, batch, first, counts)
    return counts


def _of_taken_users(call: Call, batch: Batch) -> list[Change]:
    """Return the changes of users whom the workspace takes; those of unknown leavers are ignored."""
    leavers = {change.user_id for change in batch.changes if change.only_leaves}
    others = {change.user_id for change in batch.changes if not change.only_leaves}
    gone = store.check_users(call.workspace, others, leavers)
    kept = [change for change in batch.changes if change.user_id not in gone] if gone else batch.changes
    batch.ignored += len(batch.changes) - len(kept)
    return traits.last_words(kept)


def _first(call: Call, changes: list[Change]) -> list[Change]:
    """Return the changes that are no repeats; their ids are noted."""
    if call.is_replay:  # a person wants the effect again
        return changes
    if not store.is_first(call.workspace, call.idempotency_key):
        return []
    return store.without_repeats(call.workspace, changes)


def _write(call: Call, changes: list[Change], operated: set[str]) -> int:
    """Write the changes. What operations come to is known only here, and is on disk before the commit."""
    plain = [change for change in changes if change.user_id not in operated]
    resolved = traits.resolve(call.workspace, [one for one in changes if one.user_id in operated])
    hand_on(call.workspace, [], [change.line for change in resolved if change.line is not None])
    return traits.write(call.workspace, [*plain, *resolved])


def _name_the_rest(call: Call, batch: Batch, changes: list[Change], counts: dict[str, Any]) -> None:
    if batch.refused:
        counts["refused"] = len(batch.refused)
        counts["errors"] = [one.as_json() for one in batch.refused[:MOST_NAMED]]
    if left_out := traits.long_names(changes):
        counts["notInCohorts"] = left_out
