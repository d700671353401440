"""What is known of a partner besides what it answered: proven equal, believed equal, or not equal."""

from datetime import datetime

from syncs import reporting
from syncs.choices import CompareState, RunMode, RunState
from syncs.models import Comparison, Sync
from syncs.status.state import Tone, utc

Words = tuple[str, Tone, str]


def of(sync: Sync, now: datetime) -> Words:
    """Return a label, its tone and a sentence on how a sync's partner compares. Two queries."""
    last = sync.comparisons.filter(state__in=[CompareState.DONE, CompareState.FAILED]).first()
    if last is None:
        return "Believed equal", Tone.QUIET, "Never read back: the partner's replies are all that is known."
    if last.state == CompareState.FAILED:
        return "Not read", Tone.CARE, f"It could not be read at {utc(last.finished_at)}: {last.error}"
    at = utc(last.finished_at)
    if last.differs:
        since = " What was sent since is not in it." * (sync.settled_version != last.version)
        return _differing(last, f"{at}.{since}")
    if sync.dirty or sync.settled_version != last.version:
        said = f"Proven equal in version {last.version} at {at}; what was sent since is believed."
        return "Believed equal", Tone.QUIET, said
    return "Proven equal", Tone.GOOD, f"Proven equal at {at}. {reporting.compared(last)}"


def _differing(last: Comparison, at: str) -> Words:
    found = f"{reporting.compared(last)} Found at {at}"
    repaired = last.repair_runs.filter(mode=RunMode.REPAIR).order_by("-pk").first()
    if repaired is None:
        return "Differs", Tone.CARE, found
    if repaired.state != RunState.SUCCEEDED:
        return (
            "Differs",
            Tone.CARE,
            f"{found} Run {repaired.pk} puts it right: {repaired.get_state_display()}.",
        )
    if (last.strangers and not last.removes_strangers) or last.odd:
        return "Differs", Tone.CARE, f"{found} Run {repaired.pk} added who was missing; strangers stay."
    return "Put right", Tone.GOOD, f"{found} Run {repaired.pk} put it right; compare again to prove it."
