"""People: who is sent nowhere."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from events.user_ids import UserIdField
from people.identifiers import Kind


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def due(self) -> SuppressionQuerySet:
        """Those whose time began or ended since it was last noted."""
        now = timezone.now()
        over = Q(until__lte=now)
        return self.filter(
            Q(active=True) & over | Q(active=False, since__lte=now) & ~over & Q(lifted_at=None)
        )


class Suppression(models.Model):
    """A person who is sent nowhere, while it is active.

    `value`: the user id, or the hash of an identifier (see identifiers.digests_of): an address that was
    given in clear is not kept. Rows stay when they are over, so that the list says who was on it.
    """

    kind = models.CharField("by", max_length=20, choices=Kind)
    value = UserIdField()
    hint = models.CharField(max_length=300, blank=True, help_text="What is shown in place of a hash.")
    reason = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    since = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(null=True, blank=True)
    lifted_at = models.DateTimeField(null=True, editable=False)
    active = models.BooleanField(default=False, editable=False)
    # The number of the list's last change that concerned it: cohorts that know a lower one look it up.
    changed = models.PositiveBigIntegerField(default=0, editable=False)
    # A run of each sync that it concerns was asked for, too, and not begun yet.
    at_once = models.BooleanField(default=False, editable=False)

    objects: ClassVar[models.Manager[Suppression]] = SuppressionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name, verbose_name_plural = "suppressed person", "suppressed people"
        constraints = [
            models.UniqueConstraint(fields=["kind", "value"], name="suppression_once"),
            # A time that ends before it begins would be a mistake that suppresses nobody.
            models.CheckConstraint(
                condition=Q(until=None) | Q(until__gt=F("since")), name="suppression_ends_after_it_began"
            ),
        ]
        indexes = [
            # A refresh's question: which of these ids?
            models.Index(fields=["kind", "value"], condition=Q(active=True), name="suppression_active"),
            # A cohort's question: who changed since I looked?
            models.Index(fields=["changed"], name="suppression_changed"),
            # Whose time begins or ends?
            models.Index(fields=["until"], condition=Q(active=True), name="suppression_ends"),
            models.Index(
                fields=["since"], condition=Q(active=False, lifted_at=None), name="suppression_begins"
            ),
            models.Index(fields=["id"], condition=Q(at_once=True), name="suppression_at_once"),
        ]

    def __str__(self) -> str:
        return self.hint or self.value


class SuppressionClock(models.Model):
    """One row: the number of the list's last change. Whoever changes the list raises it in the same
    transaction, so that who reads a number can see every change up to it.
    """

    number = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.number)


class ErasureState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    DONE = "done", "Erased"


class Erasure(models.Model):
    """A person who is to be forgotten, and the certificate of it.

    `user_id` is gone when it is done. `held`: what there was when it was asked for; `parts`: what was done
    where, by name; neither names the person.
    """

    user_id = UserIdField(blank=True)
    digest = models.CharField(max_length=32, editable=False, help_text="Keyed hash of the user id.")
    state = models.CharField(max_length=20, choices=ErasureState, default=ErasureState.WAITING)
    reference = models.CharField(
        max_length=200, blank=True, help_text="Of the request, such as a ticket's number; not the person."
    )
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(default=timezone.now)
    held = models.JSONField(default=dict)
    parts = models.JSONField(default=dict)
    waits = models.JSONField(default=list, help_text="What it waits for, in sentences.")

    class Meta:
        ordering = ["-pk"]
        permissions = [("read_person", "Can download all that is known of a person")]
        constraints = [
            # Two people who press the button at once ask for one erasure.
            models.UniqueConstraint(
                fields=["digest"], condition=Q(state="waiting"), name="erasure_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"Erasure {self.pk}"


class ImportState(models.TextChoices):
    WAITING = "waiting", "Waiting for the worker"
    IMPORTING = "importing", "Importing"
    DONE = "done", "Imported"
    FAILED = "failed", "Failed"


# Without a sign of life for so long, an import is another worker's.
CLAIM_TIME = timedelta(minutes=2)


class ProfileImportQuerySet(models.QuerySet["ProfileImport"]):
    """Each method but `open` is one conditional UPDATE and returns whether it found its row."""

    def open(self) -> ProfileImportQuerySet:
        return self.filter(state__in=[ImportState.WAITING, ImportState.IMPORTING])

    def start(self, pk: int) -> bool:
        """Claim an import that waits, or whose worker died."""
        left_behind = Q(state=ImportState.IMPORTING, claim_until__lt=Now())
        return (
            self.filter(Q(state=ImportState.WAITING) | left_behind, pk=pk).update(
                state=ImportState.IMPORTING,
                attempts=F("attempts") + 1,
                claim_until=Now() + CLAIM_TIME,
                percent=0,
                error="",
            )
            == 1
        )

    def renew(self, pk: int, attempt: int, *, percent: int) -> bool:
        return self._claimed(pk, attempt).update(claim_until=Now() + CLAIM_TIME, percent=percent) == 1

    def end(self, pk: int, attempt: int, state: ImportState, **values: Any) -> bool:
        return (
            self._claimed(pk, attempt).update(state=state, finished_at=Now(), claim_until=None, **values) == 1
        )

    def try_again(self, pk: int) -> bool:
        failed = self.filter(pk=pk, state=ImportState.FAILED).exclude(file="")
        return failed.update(state=ImportState.WAITING, error="", finished_at=None) == 1

    def _claimed(self, pk: int, attempt: int) -> ProfileImportQuerySet:
        return self.filter(pk=pk, attempts=attempt, state=ImportState.IMPORTING)


def import_path(one: ProfileImport, filename: str) -> str:
    """Where a file is stored: a name of ours, since a person's file name may be anything."""
    return f"profiles/{secrets.token_hex(16)}"


class ProfileImport(models.Model):
    """A file that said what people are known by: what came of it, and who brought it.

    One that was given in the browser waits for the worker, with its `file`; of all others this is the record.
    """

    workspace = models.CharField(max_length=50)
    source = models.CharField("file", max_length=300, help_text="The name of the file.")
    columns = models.JSONField(default=list, help_text="Each field, its type and its column.")
    file = models.FileField(upload_to=import_path, max_length=300, blank=True)
    # What the person said about the file: fields of Hints by name.
    said = models.JSONField(default=dict)
    skip_invalid = models.BooleanField(default=False)
    state = models.CharField(max_length=20, choices=ImportState, default=ImportState.WAITING)
    percent = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True, help_text="Why it failed.")
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    claim_until = models.DateTimeField(null=True)
    users = models.PositiveBigIntegerField(default=0, help_text="Rows that say something of a user.")
    changed = models.PositiveBigIntegerField(default=0, help_text="Values that are other than before.")
    hashed = models.PositiveBigIntegerField(default=0, help_text="Addresses and numbers taken as hashes.")
    skipped = models.PositiveBigIntegerField(default=0, help_text="Values that were passed over.")
    skipped_first = models.JSONField(default=list, help_text="The first of them, each with its line.")

    objects: ClassVar[models.Manager[ProfileImport]] = ProfileImportQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = "import of profiles"
        verbose_name_plural = "imports of profiles"
        indexes = [
            # The worker's question: what waits?
            models.Index(
                fields=["id"], condition=Q(state__in=["waiting", "importing"]), name="profile_import_open"
            ),
        ]

    def __str__(self) -> str:
        return self.source


class Tombstone(models.Model):
    """A person who was erased: see tombstones.py."""

    digest = models.CharField(max_length=32, unique=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest


class TombstoneKey(models.Model):
    """One row: the key of the tombstones, sealed by FIELD_KEYS."""

    sealed = models.TextField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return "The key of the tombstones"
