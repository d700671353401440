"""What the database knows of the files of events: which ones count, their columns, and the catalogue."""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from events.names import InvalidName, check_text


class FileKind(models.TextChoices):
    EVENTS = "events"
    TRAITS = "traits"


class FileState(models.TextChoices):
    LISTED = "listed"
    RETIRED = "retired", "replaced"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNKNOWN = "unknown", "not adopted"


# With one of these a workspace lacks events that were acknowledged: its cohorts are not calculated.
TROUBLES = (FileState.DAMAGED, FileState.MISSING, FileState.UNKNOWN)


def longest_query() -> timedelta:
    """For how long a query may be reading a file that was replaced."""
    return timedelta(seconds=2 * settings.EVENTS_SECONDS + 600)


class EventFileQuerySet(models.QuerySet["EventFile"]):
    def live(self, workspace: str, kind: str) -> "EventFileQuerySet":
        """The files that hold the workspace's data now, in the order of their making."""
        return self.filter(workspace=workspace, kind=kind, state=FileState.LISTED).order_by("id")

    def troubled(self, workspace: str) -> "EventFileQuerySet":
        return self.filter(workspace=workspace, state__in=TROUBLES).order_by("id")

    def removable(self, workspace: str) -> "EventFileQuerySet":
        """Files that were replaced so long ago that no query reads them, and no backup names them."""
        kept = max(timedelta(days=settings.EVENTS_KEEP_DAYS), longest_query())
        return self.filter(workspace=workspace, state=FileState.RETIRED, retired_at__lt=timezone.now() - kept)

    def forget(self) -> int:
        """Let replaced files be removed as soon as no query reads them: they hold what must go."""
        waiting = max(timedelta(), timedelta(days=settings.EVENTS_KEEP_DAYS) - longest_query())
        return self.filter(state=FileState.RETIRED).update(retired_at=timezone.now() - waiting)

    def retire(self) -> int:
        """Take listed files out of what is read, since others hold their rows."""
        return self.exclude(state=FileState.RETIRED).update(
            state=FileState.RETIRED, retired_at=timezone.now(), problem=""
        )

    def turn(self, state: FileState, problem: str) -> int:
        """Set a file aside with a sentence that says why."""
        return self.update(state=state, problem=problem[:1000])


class EventFile(models.Model):
    """The manifest: what the files in the folder are worth. Each also describes itself (custody.py).

    A retired file was merged into another one, or corrected. It stays on disk as long as a backup of the
    database may name it (EVENTS_KEEP_DAYS).
    """

    workspace = models.SlugField(max_length=50)
    kind = models.CharField(max_length=10, choices=FileKind)
    name = models.CharField(max_length=64)
    rows = models.PositiveBigIntegerField()
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    columns = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of the file; empty: never computed.")
    state = models.CharField(max_length=10, choices=FileState, default=FileState.LISTED)
    problem = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True)

    objects = EventFileQuerySet.as_manager()

    class Meta:
        verbose_name = "file of events"
        verbose_name_plural = "files of events"
        constraints = [
            # A batch that a crash left behind is recognized by its file's name, and not counted twice.
            models.UniqueConstraint(fields=["workspace", "name"], name="event_file_once"),
            models.CheckConstraint(condition=Q(kind__in=FileKind.values), name="event_file_kind_known"),
            models.CheckConstraint(condition=Q(state__in=FileState.values), name="event_file_state_known"),
        ]
        indexes = [
            # Every query begins by reading the manifest.
            models.Index(
                fields=["workspace", "state"],
                name="event_file_in_use",
                condition=~Q(state=FileState.RETIRED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.workspace}/{self.name}"


class PropertyColumn(models.Model):
    """The number of a property's columns in the files: given once, never changed (see layout.py)."""

    workspace = models.SlugField(max_length=50)
    name = models.CharField(max_length=255)
    number = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="property_column_name"),
            # Two properties in one column would mix their values for good.
            models.UniqueConstraint(fields=["workspace", "number"], name="property_column_number"),
        ]

    def __str__(self) -> str:
        return f"{self.workspace}: {self.name}"


class NameKind(models.TextChoices):
    EVENT = "event", "event"
    PROPERTY = "property", "property of events"
    USER_PROPERTY = "user_property", "property of users"


class CatalogueEntry(models.Model):
    """An event's name (`property_name` empty), an event's property, or a user's (`event` empty)."""

    workspace = models.SlugField(max_length=50)
    event = models.CharField(max_length=255, blank=True)
    property_name = models.CharField(max_length=255, blank=True)
    count = models.PositiveBigIntegerField(default=0)
    numbers = models.PositiveBigIntegerField(default=0, help_text="How many of the values were numbers.")
    booleans = models.PositiveBigIntegerField(default=0, help_text="How many were true or false.")
    last_seen = models.DateTimeField()

    class Meta:
        verbose_name_plural = "catalogue entries"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "event", "property_name"], name="catalogue_entry_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event}.{self.property_name}" if self.property_name else self.event

    @property
    def kind(self) -> NameKind:
        """What its name is the name of."""
        if not self.property_name:
            return NameKind.EVENT
        return NameKind.PROPERTY if self.event else NameKind.USER_PROPERTY

    @property
    def name(self) -> str:
        return self.property_name or self.event

    @property
    def type(self) -> str:
        """The type of every value seen: number, boolean, or string when they differ."""
        if self.count and self.numbers == self.count:
            return "number"
        return "boolean" if self.count and self.booleans == self.count else "string"


class NameRule(models.Model):
    """What people decided about a name, for all definitions. What came in keeps the name that it came with;
    who decided it and when is among the corrections."""

    # What is configured: form, REST API, configuration file and history read this list.
    CONFIG_FIELDS: ClassVar[tuple[str, ...]] = (
        "workspace",
        "kind",
        "name",
        "renamed_to",
        "hidden",
        "forbidden",
    )

    workspace = models.SlugField(max_length=50, help_text="Whose events they are.")
    kind = models.CharField(max_length=20, choices=NameKind, help_text="What it is the name of.")
    name = models.CharField(max_length=255, help_text="As it comes in.")
    renamed_to = models.CharField(
        "called", max_length=255, blank=True, help_text="What it is called now; empty: what it came as."
    )
    hidden = models.BooleanField(default=False, help_text="Not suggested while one types.")
    forbidden = models.CharField(
        "not to be used", max_length=500, blank=True, help_text="Why it is not to be used; empty: it may be."
    )

    class Meta:
        verbose_name = "rule of a name"
        verbose_name_plural = "rules of names"
        constraints = [
            # One name cannot be called two things.
            models.UniqueConstraint(fields=["workspace", "kind", "name"], name="name_rule_once"),
            models.CheckConstraint(condition=Q(kind__in=NameKind.values), name="name_rule_kind_known"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("admin:events_namerule_change", args=[self.pk])

    def check_texts(self) -> None:
        """Raise InvalidName when the name or the new one is none."""
        check_text(self.name)
        if self.renamed_to:
            check_text(self.renamed_to)
        if self.renamed_to == self.name:
            raise InvalidName(f"“{self.name}” is its name already.")

    def clean(self) -> None:
        try:
            self.check_texts()
        except InvalidName as error:
            raise ValidationError(str(error)) from None

    @property
    def sentence(self) -> str:
        """What holds of it now: called “b”, hidden; empty when nothing was decided."""
        return ", ".join(
            [
                *([f"called “{self.renamed_to}”"] if self.renamed_to else []),
                *(["hidden"] if self.hidden else []),
                *([f"not to be used: {self.forbidden}"] if self.forbidden else []),
            ]
        )


class ImportedFileQuerySet(models.QuerySet["ImportedFile"]):
    def standing(self, workspace: str) -> "ImportedFileQuerySet":
        """The imports whose events are still there."""
        return self.filter(workspace=workspace, undone_at=None)


class ImportedFile(models.Model):
    """A file that was imported, by its content: importing it again would count every event twice."""

    workspace = models.SlugField(max_length=50)
    key = models.CharField(
        max_length=32,
        null=True,
        help_text="What its rows are marked with; none for what an earlier release imported.",
    )
    digest = models.CharField(max_length=64, help_text="SHA-256 of the content and of how it was read.")
    name = models.CharField(max_length=255)
    source = models.CharField(max_length=100, blank=True, help_text="Where its events come from.")
    rows = models.PositiveBigIntegerField()
    bad_lines = models.PositiveBigIntegerField()
    imported_at = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150, blank=True)
    undone_at = models.DateTimeField(null=True)

    objects = ImportedFileQuerySet.as_manager()

    class Meta:
        constraints = [
            # Its rows are found by it, and must not be another import's.
            models.UniqueConstraint(fields=["workspace", "key"], name="imported_file_key"),
        ]
        indexes = [
            # Each import begins with the question whether the content is there.
            models.Index(fields=["workspace", "digest"], name="imported_file_digest"),
        ]

    def __str__(self) -> str:
        return self.name

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "file": self.name,
            "source": self.source,
            "rows": self.rows,
            "bad_lines": self.bad_lines,
            "imported_at": self.imported_at.isoformat(),
            "by": self.by,
            "undone_at": self.undone_at and self.undone_at.isoformat(),
        }


class UploadState(models.TextChoices):
    LOOKING = "looking", "Being looked at"
    LOOKED = "looked", "Waiting for you"
    IMPORTING = "importing", "Being imported"
    DONE = "done", "Imported"
    FAILED = "failed", "Failed"


# What a worker has to do with; and what the stored file is still there for.
WORKED_AT = (UploadState.LOOKING, UploadState.IMPORTING)
KEPT = (*WORKED_AT, UploadState.LOOKED)


class EventUploadQuerySet(models.QuerySet["EventUpload"]):
    """Each method but `waiting` is one conditional UPDATE and returns whether it found its row."""

    def waiting(self, workspace: str) -> "EventUploadQuerySet":
        return self.filter(workspace=workspace, state__in=WORKED_AT).order_by("pk")

    def turn(self, pk: int, before: UploadState, after: UploadState, **values: Any) -> bool:
        return self.filter(pk=pk, state=before).update(state=after, percent=0, **values) == 1


class EventUpload(models.Model):
    """A file of events that a person gave us in the browser: a worker looks at it, the person sees what was
    understood and says whether it is imported, and the worker imports it."""

    workspace = models.SlugField(max_length=50)
    key = models.CharField(max_length=32, unique=True, help_text="The folder of the stored file.")
    name = models.CharField("file", max_length=200)
    source = models.CharField(max_length=100, blank=True)
    mapped = models.JSONField(default=dict, help_text="How its columns become fields.")
    replaces_repeats = models.BooleanField(default=False)
    replaces_import = models.CharField(
        max_length=32, blank=True, help_text="The key of the import that it takes the place of."
    )
    state = models.CharField(max_length=10, choices=UploadState, default=UploadState.LOOKING)
    percent = models.PositiveSmallIntegerField(default=0)
    look = models.JSONField(default=dict, help_text="What was understood.")
    said = models.TextField(blank=True, help_text="What became of it.")
    import_key = models.CharField(max_length=32, blank=True)
    by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)

    objects = EventUploadQuerySet.as_manager()

    class Meta:
        verbose_name = "upload of events"
        verbose_name_plural = "uploads of events"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=UploadState.values), name="event_upload_state_known"
            ),
        ]
        indexes = [
            # The worker's question, each time it looks: what is to be done?
            models.Index(
                fields=["workspace"],
                name="event_upload_open",
                condition=Q(state__in=["looking", "importing"]),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Correction(models.Model):
    """What was taken out of the events, or put in another's place: what, by whom, and when."""

    workspace = models.SlugField(max_length=50)
    key = models.CharField(max_length=32)
    what = models.CharField(max_length=1000, help_text="A sentence.")
    events = models.PositiveBigIntegerField(default=0, help_text="How many were taken out.")
    traits = models.PositiveBigIntegerField(default=0, help_text="How many users' properties were taken out.")
    by = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            # A correction that a crash interrupted is finished once.
            models.UniqueConstraint(fields=["workspace", "key"], name="correction_once"),
        ]

    def __str__(self) -> str:
        return self.what

    @property
    def sentence(self) -> str:
        return sentence_of(self.what, self.events, self.traits)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "events": self.events,
            "traits": self.traits,
            "by": self.by,
            "at": self.at.isoformat(),
        }


def sentence_of(what: str, events: int, traits: int) -> str:
    """Say what a correction did."""
    said = what[0].upper() + what[1:]
    if not events and not traits:
        return f"{said}."
    return f"{said}; {events:,} events and {traits:,} users' properties were taken out."


class Site(models.Model):
    """One row: the key by which a folder of events knows its site."""

    key = models.CharField(max_length=32)

    class Meta:
        constraints = [
            # Two keys would be two sites.
            models.CheckConstraint(condition=Q(pk=1), name="site_is_one"),
        ]

    def __str__(self) -> str:
        return self.key
