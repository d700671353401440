"""When and what: syncs, their runs and batches, the users that a partner rejected, the driver's lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Concat, Least, Now
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import CALCULATED, ScheduleKind
from cohorts.models import Cohort
from cohorts.schedule import InvalidSchedule, Schedule, parse
from cohorts.scheduled import Scheduled
from destinations.models import Destination
from events.user_ids import UserIdField
from pagekit import tracing
from syncs.alert_models import AlertChannel as AlertChannel
from syncs.alert_models import AlertDelivery as AlertDelivery
from syncs.choices import (
    DRIVABLE_RUNS,
    MOVING,
    OPEN_COMPARISONS,
    OPEN_RUNS,
    AlertKind,
    BatchState,
    CompareState,
    DifferenceKind,
    RejectionKind,
    RejectionState,
    RunMode,
    RunState,
    Step,
    Trigger,
)

# How long after a request that got no answer a partner may still act on it.
LATE = timedelta(hours=24)


class SyncQuerySet(models.QuerySet["Sync"]):
    """Each method is one conditional UPDATE and returns whether it found its row."""

    def begin(
        self,
        pk: int,
        *,
        fingerprint: str,
        external_name: str,
        mode: str = RunMode.CHANGES,
        back_to: int | None = None,
    ) -> bool:
        """Before a run's first request: from now on the partner may hold anything between two versions.

        When it is being emptied, one of them is "nobody": users who never moved may be gone, too. A full run
        stays owed until one has ended well: what it was to put right is not in any difference of versions.
        """
        held: dict[str, Any] = {"dirty": True}
        if back_to is not None:
            # What the partner may hold now begins at the older version.
            held["settled_version"] = Least("settled_version", Value(back_to))
        if mode == RunMode.EMPTY:
            held["settled_version"] = 0
        if mode == RunMode.FULL:
            held["full_owed"] = True
        # A repair brings the partner nearer to the version that it holds, wherever it stops.
        held = {} if mode == RunMode.REPAIR else held
        return (
            self.filter(
                pk=pk, external_name__in=["", external_name], fingerprint__in=["", fingerprint]
            ).update(fingerprint=fingerprint, external_name=external_name, **held)
            == 1
        )

    def settle(self, run: Run) -> bool:
        """The partner now holds exactly what the run was to bring it (but for its rejected users).

        As far as anybody can know: a request of an earlier run that got no answer may be acted on after what
        this run has sent, and undo it. So when there was one within LATE, the next run sends once more what
        this one sent: `repeat_from` is the version where it began.
        """
        held: dict[str, Any] = {"settled_version": run.to_version, "dirty": False}
        held["repeat_from"] = _to_repeat(run)
        if run.mode == RunMode.EMPTY:
            held["settled_version"], held["repeat_from"] = 0, None
        if run.mode != RunMode.CHANGES:
            held["full_owed"] = False
        if run.mode == RunMode.REPAIR:
            held = {}
        return self.filter(pk=run.sync_id).update(runs_done=F("runs_done") + 1, **held) == 1

    def forget(self, pk: int) -> bool:
        """The partner holds nothing: its list is gone, or the destination is another one now."""
        return (
            self.filter(pk=pk).update(
                settled_version=0,
                dirty=False,
                repeat_from=None,
                full_owed=False,
                list_id=None,
                fingerprint="",
            )
            == 1
        )

    def adopt_name(self, pk: int) -> bool:
        """The partner was emptied under the old name: go on under the next one."""
        return (
            self.filter(pk=pk, settled_version=0, dirty=False)
            .exclude(next_name="")
            .update(external_name=F("next_name"), next_name="", list_id=None)
            == 1
        )

    def pin(self, pk: int, *, version: int, by: str) -> bool:
        return (
            self.filter(pk=pk, archived_at=None).update(pinned_version=version, pinned_at=Now(), pinned_by=by)
            == 1
        )

    def unpin(self, pk: int, *, doubtful: bool) -> bool:
        """Follow the cohort again; doubtful: whoever moved since is sent, whatever the partner holds."""
        held: dict[str, Any] = {"dirty": True} if doubtful else {}
        pinned = self.filter(pk=pk, pinned_version__isnull=False)
        return pinned.update(pinned_version=None, pinned_at=None, pinned_by="", **held) == 1

    def note_alerted(self, pk: int, *, before: str, now: str) -> bool:
        """Record that people are notified of a change of state; of several processes, one does."""
        return self.filter(pk=pk, alerted=before).update(alerted=now) == 1

    def switch_off(self, pk: int) -> bool:
        """From now on the schedule starts nothing; an open run goes on."""
        return self.filter(pk=pk, enabled=True).update(enabled=False) == 1

    def switch_on(self, pk: int, *, next_due_at: Any) -> bool:
        """Follow the schedule again; what was due meanwhile is not made up for."""
        return (
            self.filter(pk=pk, enabled=False, archived_at=None).update(enabled=True, next_due_at=next_due_at)
            == 1
        )


class Sync(Scheduled):
    """One cohort at one destination, on a schedule, and what that partner holds of it."""

    # What people configure, wherever they do: form, file, REST API; and what the history of changes records.
    CONFIG_FIELDS: ClassVar[tuple[str, ...]] = (
        *("cohort", "destination", "enabled"),
        *Scheduled.SCHEDULE_FIELDS,
        *("hold_if_halved", "guard_percent", "guard_users"),
        "compare_cron",
    )

    cohort = models.ForeignKey(Cohort, on_delete=models.PROTECT, related_name="syncs")
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="syncs")
    enabled = models.BooleanField(
        default=True, help_text="A sync that is switched off does not run on its schedule."
    )
    hold_if_halved = models.BooleanField(
        "ask when halved",
        default=True,
        help_text="A run that would take away half of more than 100 users or more waits for a person. "
        "A limit below, or the cohort's own, takes its place.",
    )
    guard_percent = models.PositiveSmallIntegerField(
        "ask above percent",
        null=True,
        blank=True,
        help_text="A run that would remove more than this share of the partner's users waits for a person. "
        "Empty: the cohort's own limit.",
    )
    guard_users = models.PositiveBigIntegerField(
        "ask above users",
        null=True,
        blank=True,
        help_text="The same, as a number of users. Empty: the cohort's.",
    )
    compare_cron = models.CharField(
        "compare at",
        max_length=100,
        blank=True,
        help_text="When to read back what the partner has, and compare: a cron expression in the time zone "
        "above. 0 6 * * 0 is every Sunday at six. Empty: only by hand.",
    )
    # Where the destination knows people by something else than our user id: the cohort of what it is sent.
    # All versions of the sync and of its runs are that one's then. See projecting.py.
    projection = models.ForeignKey(
        Cohort, on_delete=models.PROTECT, null=True, editable=False, related_name="projected_syncs"
    )
    # What the partner holds. `fingerprint` is a digest of the destination's address at which this is true.
    settled_version = models.PositiveIntegerField(default=0, editable=False)
    dirty = models.BooleanField(default=False, editable=False)
    repeat_from = models.PositiveIntegerField(
        null=True,
        editable=False,
        help_text="Who moved after this version is sent once more by the next run: the partner may have "
        "acted late on a request that it did not answer.",
    )
    full_owed = models.BooleanField(
        default=False,
        editable=False,
        help_text="A full run began and did not end well: the next run is full.",
    )
    list_id = models.TextField(null=True, editable=False)
    external_name = models.CharField(max_length=500, blank=True, editable=False)
    fingerprint = models.CharField(max_length=100, blank=True, editable=False)
    runs_done = models.PositiveIntegerField(default=0, editable=False)
    next_name = models.CharField(max_length=500, blank=True, editable=False)
    # The older version of its cohort at which a person has set it, since when, and who.
    pinned_version = models.PositiveIntegerField(null=True, editable=False)
    pinned_at = models.DateTimeField(null=True, editable=False)
    pinned_by = models.CharField(max_length=150, blank=True, editable=False)
    # What people were last notified of about this sync; '' when all is well.
    alerted = models.CharField(max_length=20, blank=True, editable=False)
    archived_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Sync]] = SyncQuerySet.as_manager()

    class Meta:
        ordering = ["cohort__name", "destination__name"]
        # Of those who work with syncs but do not configure them.
        permissions = [("run_sync", "Can run, stop and pause syncs, and decide about rejected users")]
        constraints = [
            # What a partner holds is told per pair: a second sync of the same pair would lie about it.
            models.UniqueConstraint(fields=["cohort", "destination"], name="sync_pair_once"),
            # Two cohorts under one name at a partner would overwrite each other.
            models.UniqueConstraint(
                fields=["destination", "external_name"],
                condition=~Q(external_name=""),
                name="sync_external_name_once_per_destination",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cohort.key}:{self.destination.name}"

    def get_absolute_url(self) -> str:
        return reverse("admin:syncs_sync_overview", args=[self.pk])

    @property
    def heading(self) -> str:
        """The pair by the names that people gave."""
        return f"{self.cohort.name} → {self.destination}"

    def aim(self, mode: str) -> tuple[int, int]:
        """Return the version to which a run brings the partner, and its `reach`: see `Run`."""
        if self.pinned_version is None or mode == RunMode.EMPTY or self.projection_id:
            return self.sent.version, 0
        return self.pinned_version, self.cohort.version

    def clean(self) -> None:
        super().clean()
        if self.compare_cron:
            try:
                self.comparing()
            except InvalidSchedule as error:
                raise ValidationError({"compare_cron": error.message}) from None

    def comparing(self) -> Schedule:
        """Return when it is compared with what its partner has; raises InvalidSchedule."""
        return parse(kind=ScheduleKind.CRON, cron=self.compare_cron, timezone=self.timezone)

    @property
    def sent(self) -> Cohort:
        """Return what the partner is sent, and whose versions count: the cohort, or its projection."""
        return self.cohort if self.projection is None else self.projection

    @property
    def sent_id(self) -> int:
        return self.projection_id or self.cohort_id


def _to_repeat(run: Run) -> Any:
    """Return, as part of an UPDATE, the version after which the next run sends once more; or None.

    What a run from nobody has sent can be undone by an emptying before it alone, and not under another name.
    After one that did not end, who left since the first version is looked at, and not all who ever came.
    """
    unanswered = Batch.objects.filter(
        *(Q(unknown_outcome=True), Q(created_at__gte=timezone.now() - LATE)),
        run__sync=run.sync_id,
        run__lt=run.pk,
        step__in=MOVING,
    )
    since = run.from_version or max(run.sync.sent.readable_from, 1)
    if run.from_version == 0 and not run.from_dirty:
        since, unanswered = 0, unanswered.filter(run__mode=RunMode.EMPTY)
    if run.trigger == Trigger.RENAMED:
        unanswered = unanswered.none()
    return Case(When(Exists(unanswered), then=Value(since)), default=None)


class Link(models.Model):
    """A user is known to a partner by a key, from one version of the projection until before another.

    A key is in a version as long as somebody has it. `traits`: JSON of what goes along; of several people
    with one key, the first's. Read by version like members: see `cohorts.models.Member`.
    """

    pk = models.CompositePrimaryKey("projection_id", "user_id", "key", "entered_version")
    projection_id = models.BigIntegerField()
    user_id = UserIdField()
    key = UserIdField()
    entered_version = models.PositiveIntegerField()
    left_version = models.PositiveIntegerField(null=True)
    type = models.TextField()
    traits = models.TextField()

    class Meta:
        default_permissions = ()
        indexes = [
            # Who has this key?
            models.Index(fields=["projection_id", "key", "user_id"], name="link_key"),
            # What was written at version v, or ended with it? The first load is left out: it is everybody.
            models.Index(
                fields=["projection_id", "entered_version"],
                condition=Q(entered_version__gt=1),
                name="link_entered",
            ),
            models.Index(
                fields=["projection_id", "left_version"],
                condition=Q(left_version__isnull=False),
                name="link_left",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.key}"


NO_ANSWER = "The run ended before the partner had said what became of this request."


class RunQuerySet(models.QuerySet["Run"]):
    """Each method is one conditional UPDATE and returns whether it found its row."""

    def reopen(self, pk: int) -> bool:
        """Take a failed run up again, with its own target; that it failed, and why, is kept as a try."""
        with transaction.atomic():
            failed = self.filter(pk=pk).first()
            taken = self.filter(pk=pk, state=RunState.FAILED).update(
                state=RunState.PENDING,
                finished_at=None,
                cancel_requested=False,
                cancelled_by="",
                reopened=True,
                tried_since=Now(),
            )
            if taken and failed:
                Try.objects.create(
                    run=failed,
                    began_at=failed.tried_since or failed.started_at or failed.created_at,
                    ended_at=failed.finished_at or Now(),
                    reason=failed.reason,
                )
        return taken == 1

    def start(self, pk: int) -> bool:
        """Let a run go on; whether its cohort could be calculated before it, is kept."""
        calculated = Cohort.objects.filter(syncs__runs=OuterRef("pk"), source_kind__in=CALCULATED)
        return (
            self.filter(pk=pk, state__in=DRIVABLE_RUNS).update(
                state=RunState.RUNNING,
                reason="",
                started_at=Coalesce("started_at", Now()),
                cohort_error=Case(
                    When(mode=RunMode.EMPTY, then=Value("")),
                    default=Coalesce(Subquery(calculated.values("calculation_error")[:1]), Value("")),
                    output_field=models.TextField(),
                ),
            )
            == 1
        )

    def park(self, pk: int, *, reason: str) -> bool:
        return (
            self.filter(pk=pk, state__in=[RunState.RUNNING, RunState.PENDING]).update(
                state=RunState.PARKED, reason=reason
            )
            == 1
        )

    def interrupt(self, pk: int) -> bool:
        return (
            self.filter(pk=pk, state=RunState.RUNNING).update(
                state=RunState.PENDING, reason="Interrupted; it goes on where it stopped."
            )
            == 1
        )

    def hold(self, pk: int, *, reason: str) -> bool:
        return (
            self.filter(pk=pk, state__in=DRIVABLE_RUNS).update(
                state=RunState.HELD, reason=reason, approved_by=""
            )
            == 1
        )

    def hold_anew(self, pk: int, *, reason: str, **planned: Any) -> bool:
        """What a held run would do is another thing by now: a person is asked about that."""
        return self.filter(pk=pk, state=RunState.HELD).update(reason=reason, **planned) == 1

    def approve(self, pk: int, *, by: str, **planned: Any) -> bool:
        """Let a held run go on, and do what is planned now."""
        return (
            self.filter(pk=pk, state=RunState.HELD).update(
                state=RunState.PENDING, approved_by=by, reason="", **planned
            )
            == 1
        )

    def ask_again(self, pk: int, *, version: int) -> bool:
        """Somebody wants this version while an older one is being sent: another run shall follow."""
        return self.filter(pk=pk, state__in=OPEN_RUNS).update(asked_version=version) == 1

    def end(
        self, pk: int, state: RunState, *, reason: str, among: Sequence[RunState] = tuple(OPEN_RUNS)
    ) -> bool:
        """End a run that is in one of the states `among`. Of a cancelled one, the reason says who asked."""
        why: Any = reason
        if state == RunState.CANCELLED:
            asked = Concat(Value("Cancelled by "), F("cancelled_by"), Value("."))
            why = Case(When(~Q(cancelled_by=""), then=asked), default=Value(reason))
        mine = self.filter(pk=pk, state__in=among)
        if mine.update(state=state, reason=why, trouble="", finished_at=Now()) != 1:
            return False
        # Nobody asks any more what became of these, on which the partner may act all the same.
        unanswered = Batch.objects.filter(run=pk, state=BatchState.PROCESSING)
        unanswered.update(
            state=BatchState.UNDELIVERED, settled_at=Now(), message=NO_ANSWER, unknown_outcome=True
        )
        if state == RunState.CANCELLED:
            # A driver that was killed had these under way; of a failed run, who takes it up again says so.
            Batch.objects.filter(run=pk, state=BatchState.SENDING).update(unknown_outcome=True)
        return True


class Run(models.Model):
    """One execution of a sync, from the version that the partner held to a target version."""

    sync = models.ForeignKey(Sync, on_delete=models.PROTECT, related_name="runs")
    mode = models.CharField(max_length=20, choices=RunMode, default=RunMode.CHANGES)
    trigger = models.CharField(max_length=20, choices=Trigger)
    triggered_by = models.CharField(max_length=150, blank=True)
    comparison = models.ForeignKey(
        "Comparison",
        on_delete=models.SET_NULL,
        null=True,
        related_name="repair_runs",
        help_text="Of a repair, what found what it puts right.",
    )
    from_version = models.PositiveIntegerField(help_text="What the partner held when the run was planned.")
    to_version = models.PositiveIntegerField(help_text="What the partner holds when the run has succeeded.")
    reach = models.PositiveIntegerField(
        default=0,
        help_text="Of a run to an older version, the latest one: what the partner holds may come from any "
        "up to it. Who was suppressed meanwhile is left out. 0: of any other run.",
    )
    from_dirty = models.BooleanField(
        default=False, help_text="An earlier run did not finish: the partner may hold anything in between."
    )
    repeat_from = models.PositiveIntegerField(
        null=True, help_text="Who moved after this version is sent, though an earlier run has sent them."
    )
    state = models.CharField(max_length=20, choices=RunState, default=RunState.PENDING)
    reason = models.TextField(blank=True)
    note = models.TextField(blank=True, help_text="What a person should know although the run went on.")
    trouble = models.TextField(
        blank=True, help_text="What the partner answers while the run goes on and is tried again."
    )
    cohort_error = models.TextField(
        blank=True,
        help_text="Why the cohort could not be calculated before it: the run sent an older version.",
    )
    reopened = models.BooleanField(default=False, help_text="It failed once and was taken up again.")
    tried_since = models.DateTimeField(null=True, help_text="When it was taken up again for the last time.")
    asked_version = models.PositiveIntegerField(
        default=0, help_text="The cohort's version when somebody last asked for a run, this one being open."
    )
    cancel_requested = models.BooleanField(default=False)
    cancelled_by = models.CharField(max_length=150, blank=True, help_text="Who asked for it to be cancelled.")
    approved_by = models.CharField(max_length=150, blank=True)
    traceparent = models.CharField(
        max_length=55,
        blank=True,
        default=tracing.current,
        db_default="",
        help_text="W3C Trace Context: what asked for it.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    planned_adds = models.PositiveBigIntegerField(null=True)
    planned_removes = models.PositiveBigIntegerField(null=True)
    added = models.PositiveBigIntegerField(default=0)
    removed = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)
    undelivered = models.PositiveBigIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager[Run]] = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            # Two drivers, eight cron jobs and an impatient person make one run between them.
            models.UniqueConstraint(
                fields=["sync"],
                condition=Q(state__in=["pending", "running", "parked", "held"]),
                name="run_open_once_per_sync",
            ),
        ]
        indexes = [
            # The worker's question: which runs are open?
            models.Index(
                fields=["sync"],
                condition=Q(state__in=["pending", "running", "parked", "held"]),
                name="run_open",
            ),
            # The dashboard's question: what ended in the last days?
            models.Index(fields=["finished_at"], name="run_ended"),
            # What the lists and the dashboard ask of each sync: which run was its last?
            models.Index(fields=["sync", "-id"], name="run_latest"),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk} of {self.sync}"

    @property
    def planned(self) -> int | None:
        """How many users it is to add and remove, or None before it was planned."""
        return None if self.planned_adds is None else self.planned_adds + (self.planned_removes or 0)

    @property
    def done(self) -> int:
        """How many users it is through with, whichever way."""
        return self.added + self.removed + self.rejected + self.undelivered

    @property
    def not_taken(self) -> str:
        """Who is not at the partner as they should be, in words: "3 rejected, 2 not delivered"; or ''."""
        found = ((self.rejected, "rejected"), (self.undelivered, "not delivered"))
        return ", ".join(f"{number:,} {words}" for number, words in found if number)

    @property
    def versions(self) -> str:
        """From what to what it brings the partner, in words."""
        if self.mode == RunMode.REPAIR:
            return f"{self.from_version}, put right"
        return f"{self.from_version} → {'nobody' if self.mode == RunMode.EMPTY else self.to_version}"


class Try(models.Model):
    """A time that a run failed, before it was taken up again: the run itself tells how its last try fared."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="tries")
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "tries"
        indexes = [
            # The dashboard's question: what failed in the last days?
            models.Index(fields=["ended_at"], name="try_ended"),
        ]

    def __str__(self) -> str:
        return f"A failed try of run {self.run_id}"


class Batch(models.Model):
    """One request's worth of users of a run; written before it is sent, settled after the reply.

    Its users are those of the run's plan from `first_user` to `last_user`, but for the rejected ones:
    see plan.py. A batch that tries rejected users again keeps their ids, since no range has them.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    step = models.CharField("operation", max_length=10, choices=Step)
    first_user = UserIdField(blank=True)
    last_user = UserIdField(blank=True)
    user_ids = models.JSONField(null=True)
    size = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=20, choices=BatchState, default=BatchState.SENDING)
    # Tries of the payload that is being sent, kept so that a restart does not begin to count anew.
    tries = models.PositiveSmallIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    # A request of this batch got no reply, so that the partner may have acted on it.
    unknown_outcome = models.BooleanField(default=False)
    # By what the partner is asked what became of a request that it has only accepted, since when, how often
    # it was asked, and when it is asked next. Kept when the batch is settled: the partner's support asks for
    # it.
    job_id = models.CharField(max_length=1024, blank=True)
    job_since = models.DateTimeField(null=True)
    job_polls = models.PositiveSmallIntegerField(default=0)
    job_due = models.DateTimeField(null=True)
    delivered = models.PositiveIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    message = models.TextField(blank=True)
    request_head = models.TextField(blank=True)
    reply_head = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["run", "number"]
        verbose_name_plural = "batches"
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="batch_number_once_per_run"),
        ]
        indexes = [
            # After a crash: which batches were being sent?
            models.Index(fields=["run"], condition=Q(state="sending"), name="batch_sending"),
            # When a run ends: which requests may the partner still act on?
            models.Index(fields=["run"], condition=Q(unknown_outcome=True), name="batch_unanswered"),
            # … and which were being processed by the partner?
            models.Index(fields=["run"], condition=Q(state="processing"), name="batch_processing"),
        ]

    def __str__(self) -> str:
        return f"Batch {self.number} of run {self.run_id}"


class Attempt(models.Model):
    """A request that was not simply answered with success: what was sent, what came back."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    users = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    code = models.CharField(max_length=50)
    message = models.TextField()
    request_head = models.TextField(blank=True)
    reply_head = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.message


class RejectionQuerySet(models.QuerySet["Rejection"]):
    """What a person decides about rejected users; each returns how many rows it changed."""

    def retry(self) -> int:
        """Let the next run try them, as if for the first time."""
        return self.update(state=RejectionState.WAITING, due_at_run=0, tries=0)

    def dismiss(self) -> int:
        """Try them no more until their membership changes, and count them no more."""
        return self.exclude(state=RejectionState.DISMISSED).update(state=RejectionState.DISMISSED)

    def maybe_held(self) -> RejectionQuerySet:
        """Those who may be at the partner, whatever the partner was asked."""
        return self.filter(maybe_held=True)

    def open(self) -> RejectionQuerySet:
        """Those that a person has not dismissed."""
        return self.exclude(state=RejectionState.DISMISSED)


class Rejection(models.Model):
    """A user whose membership the partner does not have right, as far as we know, and why.

    The difference of a run leaves these users out; they are tried on their own, with the target's
    membership. `maybe_held`: an earlier version, or a request without a reply, may have put the
    user on the partner's list, so that leaving the cohort must be told to the partner.
    """

    sync = models.ForeignKey(Sync, on_delete=models.CASCADE, related_name="rejections")
    user_id = UserIdField()
    kind = models.CharField(max_length=20, choices=RejectionKind)
    state = models.CharField(max_length=20, choices=RejectionState, default=RejectionState.WAITING)
    wanted = models.BooleanField(help_text="What the partner was sent: whether the user is in the cohort.")
    maybe_held = models.BooleanField(default=True)
    code = models.CharField(max_length=50)
    message = models.TextField()
    tries = models.PositiveSmallIntegerField(default=1)
    # Counted in the sync's runs, so that the distance grows whatever the schedule is.
    due_at_run = models.PositiveIntegerField(default=0)
    run = models.ForeignKey(
        Run, on_delete=models.PROTECT, related_name="+", help_text="The run that last tried."
    )
    first_at = models.DateTimeField(auto_now_add=True)
    last_at = models.DateTimeField()

    objects: ClassVar[models.Manager[Rejection]] = RejectionQuerySet.as_manager()

    class Meta:
        ordering = ["sync", "user_id"]
        verbose_name = "rejected or undelivered user"
        constraints = [
            # One row a user and sync; also the index by which a plan leaves these users out, in user order.
            models.UniqueConstraint(fields=["sync", "user_id"], name="rejection_once_per_user"),
        ]

    def __str__(self) -> str:
        return str(self.user_id)


class DriverQuerySet(models.QuerySet["Driver"]):
    """Each method that changes something is one conditional UPDATE and returns whether it found its row."""

    def to_be_driven(self) -> DriverQuerySet:
        """Those that are not parked; or only until the partner is asked again, while a run has not begun."""
        waiting = Run.objects.filter(sync__destination=OuterRef("pk"), state=RunState.PENDING)
        asked_later = Q(Exists(waiting), next_reason=Driver.PROCESSING)
        return self.filter(Q(next_at=None) | Q(next_at__lte=Now()) | asked_later)

    def try_now(self, pk: int) -> bool:
        """End a parked destination's wait."""
        return self.filter(pk=pk, next_at__isnull=False).update(next_at=None, next_reason="") == 1

    def forget_size(self, pk: int) -> bool:
        """Send batches of the destination's own size again."""
        return self.filter(pk=pk, learned_size__isnull=False).update(learned_size=None) == 1


class Driver(models.Model):
    """Who drives a destination (a lease with a fence), and until when nobody should."""

    destination = models.OneToOneField(
        Destination, on_delete=models.CASCADE, primary_key=True, related_name="driver"
    )
    owner = models.CharField(max_length=200, blank=True)
    fence = models.PositiveBigIntegerField(default=0)
    until = models.DateTimeField(null=True)
    # Parked: no request before this time.
    next_at = models.DateTimeField(null=True)
    next_reason = models.TextField(blank=True)
    # The breaker: batches in a row whose retries were spent, and how often it has opened since a success.
    spent_in_a_row = models.PositiveSmallIntegerField(default=0)
    opened = models.PositiveSmallIntegerField(default=0)
    # The most users in one request since the partner last said that it was too large.
    learned_size = models.PositiveIntegerField(null=True)

    # The reason of one that is parked since its partner works on requests: a run that has not begun ends it.
    PROCESSING: ClassVar[str] = (
        "The partner works on requests that it has accepted, and is asked again what became of them."
    )

    objects: ClassVar[models.Manager[Driver]] = DriverQuerySet.as_manager()

    class Meta:
        verbose_name = "driver of a destination"
        verbose_name_plural = "drivers of destinations"

    def __str__(self) -> str:
        return f"Driver of {self.destination}"


class Alert(models.Model):
    """Something that people are notified of: written with the change of state, sent afterwards, and kept."""

    # Of a sync, or (without one) of the site: `about` then names what it is about.
    sync = models.ForeignKey(Sync, on_delete=models.CASCADE, related_name="alerts", null=True)
    about = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=20, choices=AlertKind)
    # What people were notified of before, '' when all was well.
    was = models.CharField(max_length=20, blank=True)
    sentence = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # What was said last of something that is no sync?
            models.Index(fields=["about"], condition=Q(sync=None), name="alert_of_site"),
        ]

    def __str__(self) -> str:
        return f"{self.subject}: {self.get_kind_display()}"

    @property
    def subject(self) -> str:
        return str(self.sync) if self.sync else "This site"


class ComparisonQuerySet(models.QuerySet["Comparison"]):
    """Each method is one conditional UPDATE and returns whether it found its row."""

    def open(self) -> ComparisonQuerySet:
        """Those that wait, or that somebody does now."""
        return self.filter(state__in=OPEN_COMPARISONS)

    def take(self, pk: int, *, owner: str, among: Q) -> bool:
        return (
            self.filter(among, pk=pk).update(
                state=CompareState.READING, owner=owner, beat_at=Now(), began_at=Now()
            )
            == 1
        )

    def beat(self, pk: int, *, owner: str) -> bool:
        return self.filter(pk=pk, state=CompareState.READING, owner=owner).update(beat_at=Now()) == 1

    def give_back(self, pk: int, *, owner: str) -> bool:
        mine = self.filter(pk=pk, state=CompareState.READING, owner=owner)
        return mine.update(state=CompareState.WAITING, owner="") == 1

    def end(self, pk: int, state: CompareState, *, owner: str, **found: Any) -> bool:
        mine = self.filter(pk=pk, state=CompareState.READING, owner=owner)
        return mine.update(state=state, finished_at=Now(), **found) == 1


class Comparison(models.Model):
    """What a partner has, read back and compared with the version that it should have: see comparing.py."""

    sync = models.ForeignKey(Sync, on_delete=models.CASCADE, related_name="comparisons")
    state = models.CharField(max_length=20, choices=CompareState, default=CompareState.WAITING)
    trigger = models.CharField(max_length=20, choices=Trigger)
    asked_by = models.CharField(max_length=150, blank=True)
    # What follows without another question when something differs.
    repairs = models.BooleanField(default=False)
    removes_strangers = models.BooleanField(default=False)
    version = models.PositiveIntegerField(null=True, help_text="What the partner should have.")
    by_digest = models.BooleanField(default=False, help_text="Count and digest were equal: nothing was read.")
    expected = models.PositiveBigIntegerField(default=0)
    there = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(default=0)
    strangers = models.PositiveBigIntegerField(default=0, help_text="At the partner, and should not be.")
    unknown = models.PositiveBigIntegerField(
        default=0, help_text="Rejected, or being sent meanwhile: what they should be is not certain."
    )
    odd = models.PositiveBigIntegerField(default=0, help_text="At the partner, by an id that is no user id.")
    error = models.TextField(blank=True)
    owner = models.CharField(max_length=200, blank=True)
    beat_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    began_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Comparison]] = ComparisonQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            # A button pressed twice, and a schedule beside it, read a partner once.
            models.UniqueConstraint(
                fields=["sync"],
                condition=Q(state__in=["waiting", "reading"]),
                name="comparison_open_once_per_sync",
            ),
        ]
        indexes = [
            # What a sync's page asks: which was the last?
            models.Index(fields=["sync", "-id"], name="comparison_latest"),
        ]

    def __str__(self) -> str:
        return f"Comparison {self.pk} of {self.sync}"

    @property
    def differs(self) -> bool:
        return bool(self.missing or self.strangers or self.odd)


class Difference(models.Model):
    """A user whom a partner has and should not, or the other way round: what a repair's plan is read from."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="differences")
    kind = models.CharField(max_length=10, choices=DifferenceKind)
    user_id = UserIdField()

    class Meta:
        ordering = ["comparison", "kind", "user_id"]
        constraints = [
            # A repair's plan reads a kind in user order.
            models.UniqueConstraint(fields=["comparison", "kind", "user_id"], name="difference_once"),
        ]

    def __str__(self) -> str:
        return str(self.user_id)
