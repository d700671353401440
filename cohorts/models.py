"""Who: cohorts, their versions, and membership as intervals of versions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from cohorts import owner, sources
from cohorts.choices import PreviewState, SourceKind, UploadMode, UploadState, VersionState, WhenOver
from cohorts.scheduled import Scheduled
from cohorts.tags import check_tags
from events.tables import Hints
from events.user_ids import UserIdField
from events.workspace_folders import DEFAULT_WORKSPACE
from people.profile_files import Fields, Mapped, mapped_lines
from people.profiles import InvalidValue

CLAIM_TIME = timedelta(seconds=120)


class CohortQuerySet(models.QuerySet["Cohort"]):
    """Each method is one conditional UPDATE and returns whether it found its row."""

    def take_claim(self, pk: int, *, dead_fence: int | None = None) -> bool:
        """Claim the cohort for one refresh. A claim that ran out, or has the fence `dead_fence`, is free."""
        free = Q(claim_until=None) | Q(claim_until__lt=Now()) | Q(claim_fence=dead_fence or -1)
        return (
            self.filter(free, pk=pk).update(
                claim_fence=F("claim_fence") + 1,
                claim_until=Now() + CLAIM_TIME,
                claim_owner=owner.me(),
                last_number=F("last_number") + 1,
            )
            == 1
        )

    def renew_claim(self, pk: int, fence: int) -> bool:
        return self._claimed(pk, fence).update(claim_until=Now() + CLAIM_TIME) == 1

    def release_claim(self, pk: int, fence: int) -> bool:
        return self._claimed(pk, fence).update(claim_until=None, claim_owner="") == 1

    def publish(self, pk: int, fence: int, *, number: int, size: int, held_back: int, **more: Any) -> bool:
        return (
            self._claimed(pk, fence).update(
                version=number,
                size=size,
                held_back=held_back,
                published_at=Now(),
                held_number=None,
                claim_until=None,
                claim_owner="",
                **more,
            )
            == 1
        )

    def note_suppressions(self, pk: int, *, version: int, number: int) -> bool:
        """Record that the published version is right as of this number of the list of suppressed people."""
        return self.filter(pk=pk, version=version, suppressions__lt=number).update(suppressions=number) == 1

    def hold(self, pk: int, fence: int, *, number: int) -> bool:
        return self._claimed(pk, fence).update(held_number=number, claim_until=None, claim_owner="") == 1

    def drop_held(self, pk: int, fence: int) -> bool:
        return self._claimed(pk, fence).update(held_number=None) == 1

    def forget_below(self, pk: int, floor: int) -> bool:
        """Record that versions below `floor` are about to lose members and cannot be read any more."""
        return (
            self.filter(pk=pk, readable_from__lte=floor, version__gte=floor, version__gt=0).update(
                readable_from=floor
            )
            == 1
        )

    def _claimed(self, pk: int, fence: int) -> CohortQuerySet:
        return self.filter(pk=pk, claim_fence=fence, claim_until__isnull=False)


class OwnCohorts(models.Manager["Cohort"]):
    """Cohorts that people made. A projection belongs to its sync, and is on no page."""

    def get_queryset(self) -> models.QuerySet[Cohort]:
        return super().get_queryset().filter(projection_of=None)


def _true() -> bool:
    return True


class Cohort(Scheduled):
    """A group of users. What it holds is told by its published version: see Member."""

    # What people configure, wherever they do: form, file, REST API; and what the history of changes records.
    CONFIG_FIELDS: ClassVar[tuple[str, ...]] = (
        *("key", "name", "description", "tags", "owner", "source_kind", "definition", "events_workspace"),
        *("query_database", "query_sql", "query_fields", "query_skip_invalid"),
        *("received_workspace", "received_list", "received_trait", "received_equals", "refresh_before_sync"),
        *Scheduled.SCHEDULE_FIELDS,
        *("hold_if_emptied", "hold_if_halved", "guard_percent", "guard_users"),
        *("active_from", "active_to", "when_over"),
    )
    # What a search looks in, of the admin and of the REST API.
    SEARCH_FIELDS: ClassVar[tuple[str, ...]] = ("name", "key", "description", "tags", "owner")
    # Of these it is made when a cohort is due next.
    DUE_FIELDS: ClassVar[tuple[str, ...]] = (*Scheduled.SCHEDULE_FIELDS, "active_from", "active_to")

    key = models.SlugField(
        max_length=100,
        unique=True,
        help_text="Names the cohort in commands, configuration files and the REST API, and is the "
        "$cohort_id that partners see. It cannot be changed later.",
    )
    name = models.CharField(
        max_length=200,
        validators=[RegexValidator("\x00", "The name contains a NUL character.", inverse_match=True)],
        help_text="What partners see. A sync that has run keeps the name it began with.",
    )
    description = models.TextField(blank=True, help_text="For your colleagues; no partner sees it.")
    tags = models.JSONField(
        default=list,
        blank=True,
        validators=[check_tags],
        help_text="Words to find it by, and to send its alerts by: spring, paid-media.",
    )
    owner = models.CharField(
        max_length=150, blank=True, help_text="Who answers for it: a user here, a team, an e-mail address."
    )
    source_kind = models.CharField(
        "source",
        max_length=20,
        choices=SourceKind,
        default=SourceKind.UPLOAD,
        help_text="Where the members come from.",
    )
    definition = models.JSONField(
        null=True,
        blank=True,
        help_text='For "what people did": the conditions, as JSON. See docs/behavioral.md.',
    )
    events_workspace = models.SlugField(
        "workspace",
        max_length=50,
        default=DEFAULT_WORKSPACE,
        help_text="Whose events, or profiles: the receiving workspace that got them, or the one they were "
        "imported for.",
    )
    query_database = models.CharField(
        "database",
        max_length=100,
        blank=True,
        help_text="For a query: a name of the setting QUERY_DATABASES.",
    )
    query_sql = models.TextField(
        "query",
        blank=True,
        help_text="For a query: one SELECT with a column user_id. It runs on a read-only connection.",
    )
    query_fields = models.JSONField(
        "columns that become fields",
        default=list,
        blank=True,
        help_text="For a query: further columns that are kept as fields of these people's profiles, as "
        '["email=E-Mail", "consent:boolean=may_write"].',
    )
    query_skip_invalid = models.BooleanField(
        "pass over values that are none",
        default=False,
        help_text="Such as an e-mail address without an @. Otherwise the cohort stays as it was, and says "
        "why.",
    )
    received_workspace = models.SlugField(
        "received by",
        max_length=50,
        blank=True,
        help_text="For what a workspace receives: which workspace.",
    )
    received_list = models.CharField(
        "list",
        max_length=18,
        blank=True,
        help_text="The id of the list that is followed. Or say a trait.",
    )
    received_trait = models.TextField(
        "trait",
        blank=True,
        help_text="Instead of a list: the users of whom this trait has the value below.",
    )
    received_equals = models.JSONField(
        "has the value",
        default=_true,
        null=True,
        blank=True,
        help_text="For a trait: true, false, a number, or a text in quotes.",
    )
    refresh_before_sync = models.BooleanField(
        default=False, help_text="Calculate the cohort anew before each run of its syncs."
    )
    hold_if_emptied = models.BooleanField(
        "hold when emptied",
        default=True,
        help_text="A refresh that would empty the cohort waits for a person to approve it.",
    )
    hold_if_halved = models.BooleanField(
        "hold when halved",
        default=True,
        help_text="A refresh, or a file that replaces, after which half of more than 100 members or more "
        "would be gone waits for a person. A limit of your own below takes its place.",
    )
    guard_percent = models.PositiveSmallIntegerField(
        "hold above percent",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="A refresh from which more than this share of the members would leave waits for a "
        "person. Empty: no such limit.",
    )
    guard_users = models.PositiveBigIntegerField(
        "hold above users",
        null=True,
        blank=True,
        help_text="The same, as a number of users. Empty: no such limit.",
    )

    active_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Before this time it is not calculated and takes no members. Empty: it always is active.",
    )
    active_to = models.DateTimeField(
        "active until",
        null=True,
        blank=True,
        help_text="From this time on it is not calculated and takes no members. Empty: without end.",
    )
    when_over = models.CharField(
        "then",
        max_length=10,
        choices=WhenOver,
        default=WhenOver.EMPTY,
        help_text="What becomes of it at the end. Emptied: the next run of each sync empties the partner.",
    )

    version = models.PositiveIntegerField(default=0, editable=False)
    size = models.PositiveBigIntegerField(default=0, editable=False)
    published_at = models.DateTimeField(null=True, editable=False)
    # How many the source named who are suppressed: see members.held_back_of.
    held_back = models.PositiveBigIntegerField(default=0, editable=False)
    # The last change of the list of suppressed people that the published version knows.
    suppressions = models.PositiveBigIntegerField(default=0, editable=False)
    # The highest number ever given out, published or not: numbers are never used twice.
    last_number = models.PositiveIntegerField(default=0, editable=False)
    held_number = models.PositiveIntegerField(null=True, editable=False)
    # Versions below this one have lost members to pruning and cannot be read.
    readable_from = models.PositiveIntegerField(default=0, editable=False)
    # Why the last calculation came to nothing, and when; '' when it went well.
    calculation_error = models.TextField(blank=True, editable=False)
    calculation_failed_at = models.DateTimeField(null=True, editable=False)
    # Of what the followed source was when it was read last: see received.py.
    received_mark = models.JSONField(default=dict, editable=False)
    claim_fence = models.PositiveBigIntegerField(default=0, editable=False)
    claim_until = models.DateTimeField(null=True, editable=False)
    claim_owner = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    # Of a projection: the cohort whose members it has as a partner knows them (syncs/projecting.py), and the
    # version of that cohort that it has.
    projection_of = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, editable=False, related_name="+"
    )
    projected_version = models.PositiveIntegerField(default=0, editable=False)

    objects: ClassVar[models.Manager[Cohort]] = OwnCohorts.from_queryset(CohortQuerySet)()
    every: ClassVar[models.Manager[Cohort]] = CohortQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        permissions = [("use_query_source", "Can set or change a cohort's query of a database")]
        constraints = [
            # A published number was given out before: the proof that numbers only grow.
            models.CheckConstraint(
                condition=Q(version__lte=F("last_number")), name="cohort_version_was_given_out"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("admin:cohorts_cohort_overview", args=[self.pk])

    def kept_fields(self) -> Fields | None:
        """Return the columns of its query that are kept of people; None: none. Raises InvalidValue."""
        lines = self.query_fields
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise InvalidValue('This is no list of texts such as "email=E-Mail".')
        if not lines:
            return None
        return Fields(self.events_workspace, mapped_lines("\n".join(lines)), self.query_skip_invalid)

    def clean(self) -> None:
        super().clean()
        sources.check(self)
        if self.active_from and self.active_to and self.active_from >= self.active_to:
            raise ValidationError({"active_to": "The window ends before it begins: name a later end."})

    def due_after(self, now: datetime) -> datetime | None:
        found = super().due_after(max(now, self.active_from) if self.active_from else now)
        return None if found and self.active_to and found >= self.active_to else found


class CohortVersion(models.Model):
    """One refresh of a cohort: what it found, and what became of it."""

    cohort = models.ForeignKey(Cohort, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=20, choices=VersionState, default=VersionState.CALCULATING)
    source = models.CharField(max_length=300, help_text="What was refreshed from, in words.")
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    size = models.PositiveBigIntegerField(default=0)
    entered = models.PositiveBigIntegerField(default=0)
    left = models.PositiveBigIntegerField(default=0)
    held_back = models.PositiveBigIntegerField(
        default=0, help_text="How many the source named who were left out, since they are suppressed."
    )
    # What a calculated version was made from, and the instant as of which.
    definition = models.JSONField(null=True)
    as_of = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, help_text="Why it is held, was refused or failed.")
    decided_by = models.CharField(max_length=150, blank=True)
    # Of its members, 64 hex digits, once somebody has pulled them: see changes.py.
    digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["cohort", "number"], name="version_number_once_per_cohort"),
        ]

    def __str__(self) -> str:
        return f"{self.cohort} v{self.number}"


class Member(models.Model):
    """A user was in the cohort from `entered_version` until before `left_version` (NULL: still is).

    Of a negative cohort id, a user was held back from the cohort of that number: see members.held_back_of.

    The table is in user order (composite key; WITHOUT ROWID on SQLite), so that a comparison reads
    it from front to back. There is no foreign key in the database: a check for each of a million
    rows costs more than the rows, and the claim's fence keeps strangers out.
    """

    pk = models.CompositePrimaryKey("cohort_id", "user_id", "entered_version")
    cohort = models.ForeignKey(
        Cohort, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    user_id = UserIdField()
    entered_version = models.PositiveIntegerField()
    left_version = models.PositiveIntegerField(null=True)

    class Meta:
        indexes = [
            # Who entered at version v, in user order. The first load is left out: it is everybody.
            models.Index(
                fields=["cohort", "entered_version", "user_id"],
                condition=Q(entered_version__gt=1),
                name="member_entered",
            ),
            # Who left at version v, in user order.
            models.Index(
                fields=["cohort", "left_version", "user_id"],
                condition=Q(left_version__isnull=False),
                name="member_left",
            ),
        ]
        constraints = [
            # An interval that ends before it began would make a member of nobody.
            models.CheckConstraint(
                condition=Q(left_version=None) | Q(left_version__gt=F("entered_version")),
                name="member_leaves_after_entering",
            ),
        ]

    def __str__(self) -> str:
        return str(self.user_id)


def upload_path(upload: Upload, filename: str) -> str:
    """Where an upload is stored: a name of ours, since a person's file name may be anything."""
    return f"{upload.cohort.key}/{owner.random_name()}"


class UploadQuerySet(models.QuerySet["Upload"]):
    """Each method but `open` is one conditional UPDATE and returns whether it found its row.

    A worker claims an upload as a refresh claims its cohort; the attempt is the fence. Without it a
    worker that was suspended could publish an old file over a newer one.
    """

    def open(self) -> UploadQuerySet:
        return self.filter(state__in=[UploadState.WAITING, UploadState.IMPORTING])

    def start(self, pk: int, *, dead_attempt: int | None = None) -> bool:
        """Claim the upload. A claim that ran out, or that is the attempt `dead_attempt`, is free."""
        left_behind = Q(claim_until__lt=Now()) | Q(attempts=dead_attempt or -1)
        free = Q(state=UploadState.WAITING) | Q(state=UploadState.IMPORTING) & left_behind
        return (
            self.filter(free, pk=pk).update(
                state=UploadState.IMPORTING,
                attempts=F("attempts") + 1,
                claim_until=Now() + CLAIM_TIME,
                claim_owner=owner.me(),
                started_at=Now(),
                percent=0,
                error="",
            )
            == 1
        )

    def renew(self, pk: int, attempt: int, *, percent: int) -> bool:
        return self._claimed(pk, attempt).update(claim_until=Now() + CLAIM_TIME, percent=percent) == 1

    def finish(self, pk: int, attempt: int, *, ids: int, version: int, **found: Any) -> bool:
        return self._end(pk, attempt, state=UploadState.DONE, ids=ids, version=version, percent=100, **found)

    def fail(self, pk: int, attempt: int, *, error: str) -> bool:
        return self._end(pk, attempt, state=UploadState.FAILED, error=error)

    def postpone(self, pk: int, attempt: int) -> bool:
        """Let it wait again: the cohort is being refreshed by somebody else."""
        return self._claimed(pk, attempt).update(state=UploadState.WAITING, claim_until=None) == 1

    def try_again(self, pk: int) -> bool:
        return self.filter(pk=pk, state=UploadState.FAILED).update(state=UploadState.WAITING, error="") == 1

    def _end(self, pk: int, attempt: int, **values: Any) -> bool:
        return self._claimed(pk, attempt).update(finished_at=Now(), claim_until=None, **values) == 1

    def _claimed(self, pk: int, attempt: int) -> UploadQuerySet:
        return self.filter(pk=pk, attempts=attempt, state=UploadState.IMPORTING)


class Upload(models.Model):
    """A file of user ids that a person gave us in the browser; a worker imports it."""

    cohort = models.ForeignKey(Cohort, on_delete=models.CASCADE, related_name="uploads")
    file = models.FileField(upload_to=upload_path, max_length=300)
    original_name = models.CharField(max_length=255)
    mode = models.CharField(max_length=20, choices=UploadMode, default=UploadMode.REPLACE)
    column = models.CharField(max_length=200, blank=True)
    # What the person said about the file, but for the column: fields of Hints by name.
    said = models.JSONField(default=dict)
    refuse_suspicious = models.BooleanField(default=False)
    # Columns that are kept as fields of people's profiles, see `kept`; {}: none.
    fields = models.JSONField(default=dict)
    said_of_people = models.TextField(blank=True, help_text="What became of these, in a sentence.")
    understood = models.TextField(blank=True, help_text="How the file was read, in a sentence.")
    suspicious = models.JSONField(default=list, help_text="Kinds of odd ids, with counts and samples.")
    state = models.CharField(max_length=20, choices=UploadState, default=UploadState.WAITING)
    percent = models.PositiveSmallIntegerField(default=0)
    ids = models.PositiveBigIntegerField(default=0, help_text="Distinct user ids in the file.")
    version = models.PositiveIntegerField(null=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    claim_until = models.DateTimeField(null=True)
    claim_owner = models.CharField(max_length=200, blank=True)

    objects: ClassVar[models.Manager[Upload]] = UploadQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # The worker's question: what waits, oldest first of each cohort?
            models.Index(
                fields=["cohort", "id"],
                condition=Q(state__in=["waiting", "importing"]),
                name="upload_open",
            )
        ]

    def __str__(self) -> str:
        return self.original_name

    def hints(self) -> Hints:
        return Hints(column=self.column, **self.said)

    @staticmethod
    def kept(fields: Fields | None) -> dict[str, Any]:
        """Return the columns as an upload keeps them."""
        return fields._asdict() if fields else {}

    def kept_fields(self) -> Fields | None:
        if not self.fields:
            return None
        return Fields(**self.fields | {"mapped": [Mapped(*one) for one in self.fields["mapped"]]})


class PreviewQuerySet(models.QuerySet["Preview"]):
    """Each method is one conditional UPDATE and returns whether it found its row."""

    def open(self) -> PreviewQuerySet:
        return self.filter(state__in=[PreviewState.WAITING, PreviewState.RUNNING])

    def start(self, pk: int) -> bool:
        """Claim a preview that waits, or whose worker died."""
        left_behind = Q(state=PreviewState.RUNNING, claim_until__lt=Now())
        return (
            self.filter(Q(state=PreviewState.WAITING) | left_behind, pk=pk).update(
                state=PreviewState.RUNNING,
                attempts=F("attempts") + 1,
                claim_until=Now() + timedelta(seconds=settings.PREVIEW_SECONDS) + CLAIM_TIME,
            )
            == 1
        )

    def end(self, pk: int, attempt: int, state: PreviewState, **result: Any) -> bool:
        mine = self.filter(pk=pk, attempts=attempt, state=PreviewState.RUNNING)
        return mine.update(state=state, finished_at=Now(), claim_until=None, **result) == 1


class Preview(models.Model):
    """A source that a person wants to see before saving it: size, sample, sentence and SQL.

    A worker calculates it, within PREVIEW_SECONDS; who asked for it may leave and come back.
    """

    state = models.CharField(max_length=20, choices=PreviewState, default=PreviewState.WAITING)
    source_kind = models.CharField(max_length=20, choices=SourceKind)
    definition = models.JSONField(null=True)
    events_workspace = models.CharField(max_length=50)
    query_database = models.CharField(max_length=100, blank=True)
    query_sql = models.TextField(blank=True)
    as_of = models.DateTimeField(
        null=True, help_text="The instant of the calculation; empty: when it is made."
    )
    size = models.PositiveBigIntegerField(default=0)
    sample = models.JSONField(default=list)
    sentence = models.TextField(blank=True)
    sql = models.TextField(blank=True)
    unknown = models.JSONField(default=list, help_text="Events that were never seen.")
    # Asked for while a person types: numbers alone, and only the last that they asked for.
    live = models.BooleanField(default=False)
    counts = models.JSONField(
        default=dict, help_text='How many pass each condition, by its JSON pointer; of everybody under "".'
    )
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    claim_until = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Preview]] = PreviewQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            # The worker's question, twice a second: what waits?
            models.Index(fields=["id"], condition=Q(state__in=["waiting", "running"]), name="preview_open")
        ]

    def __str__(self) -> str:
        return f"Preview {self.pk}"
