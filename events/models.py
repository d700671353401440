"""What the database knows of the files of events: which ones count, their columns, and the catalogue."""

from typing import Any

from django.db import models
from django.db.models import Q


class FileKind(models.TextChoices):
    EVENTS = "events"
    TRAITS = "traits"


class EventFileQuerySet(models.QuerySet["EventFile"]):
    def live(self, workspace: str, kind: str) -> "EventFileQuerySet":
        """The files that hold the workspace's data now, in the order of their making."""
        return self.filter(workspace=workspace, kind=kind, retired_at=None).order_by("id")


class EventFile(models.Model):
    """The manifest: a file that is not listed here, or is retired, holds no data.

    A retired file was merged into another one. It stays on disk until no query can be reading it.
    """

    workspace = models.SlugField(max_length=50)
    kind = models.CharField(max_length=10, choices=FileKind)
    name = models.CharField(max_length=64)
    rows = models.PositiveBigIntegerField()
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    columns = models.JSONField(default=list)
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
        ]
        indexes = [
            # Every query begins by reading the manifest.
            models.Index(fields=["workspace", "kind"], name="event_file_live", condition=Q(retired_at=None)),
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
    def type(self) -> str:
        """The type of every value seen: number, boolean, or string when they differ."""
        if self.count and self.numbers == self.count:
            return "number"
        return "boolean" if self.count and self.booleans == self.count else "string"


class ImportedFile(models.Model):
    """A file that was imported, by its content: importing it again would count every event twice."""

    workspace = models.SlugField(max_length=50)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the content and of how it was read.")
    name = models.CharField(max_length=255)
    rows = models.PositiveBigIntegerField()
    bad_lines = models.PositiveBigIntegerField()
    imported_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "digest"], name="imported_file_once")]

    def __str__(self) -> str:
        return self.name

    def as_json(self) -> dict[str, Any]:
        return {"file": self.name, "rows": self.rows, "bad_lines": self.bad_lines}
