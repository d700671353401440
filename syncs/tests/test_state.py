"""Every state that a sync can be in is told in words, and none by accident."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncs.choices import BatchState, RejectionState, RunMode, RunState
from syncs.status.state import BATCH_TONES, REJECTION_TONES, RUN_TONES, Facts, LastRun, Tone, state_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=12)


def facts(state: RunState | None = None, *, run: dict[str, Any] | None = None, **changes) -> Facts:
    values: dict[str, Any] = {"now": NOW, "version": 14, "size": 23_570, "settled": 14, "held": 23_570}
    if state:
        facts_of_run: dict[str, Any] = {"state": state, "at": EARLIER, "made_at": EARLIER, "target": 14}
        values["run"] = LastRun(**facts_of_run | (run or {}))
    return Facts(**values | changes)


PARKED: dict[str, Any] = {"parked_until": NOW + timedelta(hours=2), "parked_reason": "429"}
CASES = [
    # of each state of the last run
    (facts(RunState.PENDING), "Waiting", Tone.BUSY, "Made 12 minutes ago, waits for a worker."),
    (
        facts(RunState.RUNNING, run={"done": 1_000, "planned": 2_000}),
        "Running",
        Tone.BUSY,
        "Sending version 14: 1,000 of 2,000 users, begun 12 minutes ago.",
    ),
    (
        facts(RunState.PARKED, **PARKED),
        "Parked",
        Tone.CARE,
        "Parked; goes on in 2 hours, because: 429.",
    ),
    (
        facts(RunState.HELD, run={"reason": "It would remove 50 users."}),
        "Held",
        Tone.CARE,
        "Waits for a person to approve it: It would remove 50 users.",
    ),
    (
        facts(RunState.SUCCEEDED, next_due_at=NOW + timedelta(hours=3)),
        "Equal",
        Tone.GOOD,
        "Equal to version 14, 23,570 users, 12 minutes ago; next run in 3 hours.",
    ),
    (
        facts(RunState.PARTIAL, rejected=3),
        "Equal but for some",
        Tone.CARE,
        "Equal to version 14, 23,570 users, 12 minutes ago; 3 users rejected.",
    ),
    (
        facts(RunState.FAILED, run={"reason": "Bad key"}),
        "Failed",
        Tone.BAD,
        "The last run failed 12 minutes ago, because: Bad key.",
    ),
    (
        facts(RunState.CANCELLED, dirty=True),
        "Cancelled",
        Tone.CARE,
        "The last run was cancelled 12 minutes ago: the partner may hold a part of it.",
    ),
    # variants of an open run
    (
        facts(RunState.RUNNING, run={"done": 5, "mode": RunMode.EMPTY}),
        "Running",
        Tone.BUSY,
        "Emptying the partner: 5 users, begun 12 minutes ago.",
    ),
    (
        facts(RunState.RUNNING, run={"cancelling": True}),
        "Stopping",
        Tone.CARE,
        "Being cancelled: what is in flight comes to its end.",
    ),
    (
        facts(RunState.PENDING, paused="Bad key."),
        "Destination paused",
        Tone.BAD,
        "Nothing is sent, because: Bad key.",
    ),
    (facts(RunState.PENDING, **PARKED), "Parked", Tone.CARE, "Parked; goes on in 2 hours, because: 429."),
    (
        facts(RunState.PARKED, run={"reason": "429."}),
        "Waiting",
        Tone.BUSY,
        "Goes on as soon as a worker is free. 429.",
    ),
    (
        facts(RunState.PENDING, archived=True, run={"mode": RunMode.EMPTY}),
        "Waiting",
        Tone.BUSY,
        "Made 12 minutes ago, waits for a worker.",
    ),
    # nothing is open
    (facts(archived=True), "Archived", Tone.QUIET, "Archived; the partner holds version 14, 23,570 users."),
    (
        facts(version=0, settled=0, held=0),
        "Not calculated yet",
        Tone.QUIET,
        "The cohort has no members yet: nothing can be sent.",
    ),
    (
        facts(RunState.FAILED, enabled=False, dirty=True),
        "Paused",
        Tone.QUIET,
        "Its schedule is paused; the partner may hold any part of what came after version 14.",
    ),
    (
        facts(RunState.FAILED, paused=""),
        "Destination paused",
        Tone.BAD,
        "Nothing is sent, because: no reason was recorded.",
    ),
    (facts(RunState.CANCELLED), "Equal", Tone.GOOD, "Equal to version 14, 23,570 users, 12 minutes ago."),
    (
        facts(settled=0, held=0),
        "Not sent yet",
        Tone.BUSY,
        "Nothing was sent yet; 23,570 users wait for the first run.",
    ),
    (
        facts(RunState.PARTIAL, settled=0, held=0, maybe_held=3, run={"mode": RunMode.EMPTY}),
        "Emptied but for some",
        Tone.CARE,
        "The partner was emptied 12 minutes ago, but for 3 users that it did not let go.",
    ),
    (
        facts(RunState.PARTIAL, settled=0, held=0, maybe_held=1, archived=True),
        "Archived",
        Tone.QUIET,
        "Archived; the partner holds nobody, but for 1 user that it did not let go.",
    ),
    (
        facts(RunState.SUCCEEDED, settled=0, held=0, run={"mode": RunMode.EMPTY}),
        "Emptied",
        Tone.QUIET,
        "The partner was emptied 12 minutes ago.",
    ),
    (
        facts(RunState.SUCCEEDED, settled=12, held=1),
        "Behind",
        Tone.CARE,
        "2 versions behind: the partner holds version 12, 1 user, the cohort is at 14.",
    ),
    (
        facts(dirty=True, settled=0, held=0),
        "Behind",
        Tone.CARE,
        "A run did not finish: the partner may hold any part of the cohort.",
    ),
    (
        facts(dirty=True, settled=13),
        "Behind",
        Tone.CARE,
        "A run did not finish: the partner may hold any part of what came after version 13.",
    ),
]


@pytest.mark.parametrize(("given", "label", "tone", "sentence"), CASES)
def test_a_sync_is_reported_in_one_sentence(given, label, tone, sentence):
    state = state_of(given)
    assert (state.label, state.tone) == (label, tone)
    assert state.sentence.replace("\xa0", " ") == sentence


def test_the_table_has_every_state_of_a_run():
    assert {given.run.state for given, *_ in CASES if given.run} == set(RunState)


@pytest.mark.parametrize(
    ("tones", "states"),
    [(RUN_TONES, RunState), (BATCH_TONES, BatchState), (REJECTION_TONES, RejectionState)],
)
def test_every_state_has_a_colour(tones, states):
    assert set(tones) == set(states)
