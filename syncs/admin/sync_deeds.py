"""What a person can do to a sync."""

from collections.abc import Callable

from django.utils import timezone

from syncs import lifecycle
from syncs.admin.deeds import Deed
from syncs.choices import RunMode, Trigger
from syncs.models import Sync


def _run(mode: RunMode) -> Callable[[Sync, str], str]:
    def perform(sync: Sync, by: str) -> str:
        # Who asks for emptying has read that everybody goes: a guard need not ask again.
        asked = mode == RunMode.EMPTY
        run = lifecycle.start(sync, trigger=Trigger.PERSON, mode=mode, by=by, approved=asked)
        return f"Run {run.pk} is waiting: the worker sends it. {_obstacle(sync)}".strip()

    return perform


def _obstacle(sync: Sync) -> str:
    if sync.destination.is_paused:
        return f"But its destination is paused: {sync.destination.pause_reason}"
    return ""


def _empty(sync: Sync, by: str) -> str:
    said = _run(RunMode.EMPTY)(sync, by)
    if not Sync.objects.switch_off(sync.pk):
        return said
    return f"{said} The sync is paused, so that its schedule does not fill the partner again."


def _pause(sync: Sync, by: str) -> str:
    if not Sync.objects.switch_off(sync.pk):
        raise lifecycle.CannotRun("It was paused already.")
    return "The sync is paused: its schedule starts nothing."


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
    run = lifecycle.rename(sync, name, by=by)
    if run is None:
        return "Renamed: nothing was sent under the old name."
    return f"Run {run.pk} empties the partner under the old name; a full run under the new one follows."


def _is_live(sync: Sync) -> bool:
    return sync.archived_at is None


DEEDS = (
    Deed("run", "Run now", "play_arrow", _run(RunMode.CHANGES), _is_live, variant="primary"),
    Deed(
        "pause",
        "Pause",
        "pause",
        _pause,
        lambda sync: _is_live(sync) and sync.enabled,
    ),
    Deed(
        "resume",
        "Resume",
        "schedule",
        _resume,
        lambda sync: _is_live(sync) and not sync.enabled,
    ),
    Deed(
        "full",
        "Full resync",
        "restart_alt",
        _run(RunMode.FULL),
        _is_live,
        question="Send everybody again?",
        consequence="Every user of the cohort is sent again, not only those who moved. Use it when the "
        "partner may have lost users without a word. Who left meanwhile is removed.",
    ),
    Deed(
        "empty",
        "Empty the partner",
        "delete_sweep",
        _empty,
        # Of an archived one, too: its emptying may have failed.
        lifecycle.holds_somebody,
        question="Remove everybody from the partner?",
        consequence="Every user that this sync has put there is removed: from the list, or by setting the "
        "property to false. The sync is paused as well, so that its schedule does not fill it again.",
        variant="danger",
    ),
    Deed(
        "rename",
        "Rename at the partner",
        "edit",
        _rename,
        lambda sync: _is_live(sync) and bool(sync.external_name),
        question="What should it be called at the partner?",
        consequence="The partner is emptied under the old name, and filled under the new one by a full run "
        "that follows by itself.",
        text="Name at the partner",
        initial=lambda sync: sync.external_name,
        permission="syncs.change_sync",
    ),
    Deed(
        "reset",
        "Start over",
        "ink_eraser",
        _reset,
        lambda sync: _is_live(sync) and (lifecycle.holds_somebody(sync) or bool(sync.place)),
        question="Forget what the partner holds?",
        consequence="For a destination whose address or account has changed. Nothing is sent now; rejected "
        "users and open runs are dropped, and the next run is a first one. What is at the old place stays "
        "there.",
        permission="syncs.change_sync",
        variant="danger",
    ),
    Deed(
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
    ),
    Deed(
        "empty-and-archive",
        "Empty the partner, then archive",
        "delete_sweep",
        _empty_and_archive,
        lambda sync: _is_live(sync) and lifecycle.holds_somebody(sync),
        question="Empty the partner, and archive this sync?",
        consequence="Everybody whom this sync has put there is removed by one last run.",
        permission="syncs.delete_sync",
        variant="danger",
    ),
    Deed(
        "restore",
        "Take up again",
        "unarchive",
        _restore,
        lambda sync: not _is_live(sync),
        permission="syncs.delete_sync",
    ),
)
# Offered on the page of another deed only.
BESIDE = {"empty-and-archive"}
