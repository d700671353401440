"""Personal tokens of the REST API."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self) -> ApiTokenQuerySet:
        """Those that are neither revoked nor expired, of users who may log in."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True)

    def revoke(self, pk: Any) -> bool:
        """Refuse the token from now on; False if it was revoked before."""
        return self.filter(pk=pk, revoked_at=None).update(revoked_at=Now()) == 1


class ApiToken(models.Model):
    """A token that acts as its user. The text is shown once; what is kept is its SHA-256."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What uses it: airflow, nightly export …")
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

    @property
    def state(self) -> str:
        if self.revoked_at:
            return "Revoked"
        return "Expired" if self.expires_at and self.expires_at <= timezone.now() else "Active"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
