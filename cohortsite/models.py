"""Personal tokens of the REST API; of each change of configuration who made it and what it was; and changes
that wait for a second person.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone
from simple_history import register

from cohorts.models import Cohort
from cohortsite.records import ConfigurationRecords
from destinations.models import Destination
from destinations.secrets import EncryptedField, NamedSecretsField
from events.models import NameRule
from syncs.models import AlertChannel, Sync

# So long before its end a token that is in use is talked about.
EXPIRES_SOON = timedelta(days=14)

# From here and not on the models: they are of apps that share no code of this kind. Beside what people
# configure it records what they decide about a sync, and of a credential that there is one, of
# named secrets which.
for model, configured in {
    Cohort: Cohort.CONFIG_FIELDS,
    Destination: (*Destination.CONFIG_FIELDS, "credential", "secrets"),
    NameRule: NameRule.CONFIG_FIELDS,
    AlertChannel: (*AlertChannel.CONFIG_FIELDS, "credential"),
    Sync: (*Sync.CONFIG_FIELDS, "archived_at", "external_name"),
}.items():
    register(
        model,
        app="cohortsite",
        records_class=ConfigurationRecords,
        excluded_fields=[f.name for f in model._meta.fields if f.name not in (*configured, "id")],
    )


class Scope(models.TextChoices):
    """What a token may do at most; never more than its owner's roles. roles.within says what each means."""

    READ = "read", "Read: sees what you may see"
    RUN = "run", "Run: also runs, pauses, approves, uploads and decides, as an operator does"
    CONFIGURE = "configure", "Configure: everything that you may do"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self) -> ApiTokenQuerySet:
        """Those that are neither revoked nor expired, of users who may use the admin."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True, user__is_staff=True)

    def revoke(self, pk: Any) -> bool:
        """Refuse the token from now on; False if it was revoked before."""
        return self.filter(pk=pk, revoked_at=None).update(revoked_at=Now()) == 1


class ApiToken(models.Model):
    """A token that acts as its user, within its scope. The text is shown once; its SHA-256 is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What uses it: airflow, nightly export …")
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.READ)
    prefix = models.CharField(max_length=12, editable=False)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    expires_at = models.DateTimeField(
        "expires", null=True, blank=True, help_text="Refused from then on. Empty: never."
    )
    revoked_at = models.DateTimeField("revoked", null=True, editable=False)
    last_used_at = models.DateTimeField("last used", null=True, editable=False)
    created_at = models.DateTimeField("made", auto_now_add=True)

    objects: ClassVar[models.Manager[ApiToken]] = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        if self.revoked_at:
            return "Revoked"
        left = self.expires_at - timezone.now() if self.expires_at else None
        if left is None or left > EXPIRES_SOON:
            return "Active"
        return "Expires soon" if left > timedelta() else "Expired"


class Announcement(models.Model):
    """Which version of a cohort was last posted to VERSION_WEBHOOK_URL, and when the next is tried."""

    cohort = models.OneToOneField(Cohort, on_delete=models.CASCADE, related_name="+")
    version = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.cohort} v{self.version}"


class ListView(models.Model):
    """A person's view of a list: what it is filtered and sorted by, and its columns. Without a name: the
    columns that they want of it whatever it is filtered by.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="list_views")
    page = models.CharField(max_length=100)
    name = models.CharField(max_length=60, blank=True)
    query = models.CharField(max_length=2000, blank=True)
    columns = models.JSONField(default=list)

    class Meta:
        constraints = [
            # Also the index by which a list finds its person's views.
            models.UniqueConstraint(fields=["user", "page", "name"], name="list_view_name_once"),
        ]

    def __str__(self) -> str:
        return self.name or f"Columns of {self.page}"


class Subject(models.TextChoices):
    """What is configured by proposals, with the setting FOUR_EYES."""

    COHORT = "cohort", "Cohort"
    DESTINATION = "destination", "Destination"
    NAME = "namerule", "Rule of a name"


class ProposalState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    APPROVED = "approved", "Approved"
    REFUSED = "refused", "Refused"
    WITHDRAWN = "withdrawn", "Withdrawn"


class ProposalQuerySet(models.QuerySet["Proposal"]):
    def waiting(self) -> ProposalQuerySet:
        return self.filter(state=ProposalState.WAITING)

    def decide(self, pk: int, state: ProposalState, *, by: str, reason: str) -> bool:
        """End a proposal that waits, and forget its secrets; False if somebody else has ended it."""
        return (
            self.waiting()
            .filter(pk=pk)
            .update(state=state, decided_by=by, decided_at=Now(), reason=reason, credential="", secrets={})
            == 1
        )


class Proposal(models.Model):
    """A change of configuration that one person wants and another one decides about. See proposing.py."""

    subject = models.CharField(max_length=20, choices=Subject)
    # Of the row that changes; NULL for one that would be new. No foreign key: what was decided stays.
    row_id = models.BigIntegerField(null=True)
    name = models.CharField(max_length=200)
    # To each field its new value. Of secrets only the names: `credential` and `secrets` hold them, sealed.
    changes = models.JSONField(encoder=DjangoJSONEncoder)
    secret_fields = models.JSONField(default=list)
    credential = EncryptedField(editable=False)
    secrets = NamedSecretsField(editable=False)
    # Whether data would go to another place than before.
    moves = models.BooleanField(default=False)
    # The latest recorded change of the row when this was proposed.
    base = models.BigIntegerField(null=True)
    # How it reads: field, label, before and after; of a secret nothing but that it changes.
    difference = models.JSONField()
    state = models.CharField(max_length=20, choices=ProposalState, default=ProposalState.WAITING)
    # By its key: a name can be changed, and may then be somebody else's.
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    proposer = models.CharField("proposed by", max_length=150)
    created_at = models.DateTimeField("proposed", auto_now_add=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)

    objects: ClassVar[models.Manager[Proposal]] = ProposalQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # What waits? Asked by the overview, by each page of a row, and by the worker.
            models.Index(fields=["subject", "row_id"], condition=Q(state="waiting"), name="proposal_waiting"),
        ]

    def __str__(self) -> str:
        what = "Change of" if self.row_id else "New"
        return f"{what} {self.get_subject_display().lower()} {self.name}"

    def get_absolute_url(self) -> str:
        return reverse("admin:cohortsite_proposal_change", args=[self.pk])
