"""By which channels people are told, and what has gone out by each. models.py has the alerts themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from cohorts.tags import check_tags
from destinations.models import Destination
from destinations.secrets import EncryptedField, SecretUnreadable
from destinations.validators import check_base_url
from syncs.choices import ChannelKind, Severity

# So often an alert is sent by each channel before it is given up.
TRIES = 8
GIVE_AGAIN = "The credential would go out to another address than before: give it again."


class AlertChannel(models.Model):
    """A way by which some people are told of some alerts."""

    name = models.SlugField(max_length=50, unique=True, help_text="What it is called here: data-team-slack.")
    kind = models.CharField(max_length=20, choices=ChannelKind)
    enabled = models.BooleanField(default=True, help_text="Whether anything goes out by it.")
    address = models.CharField(
        max_length=500,
        blank=True,
        help_text="E-mail: addresses, with commas between. Signed webhook: where to post. PagerDuty: empty, "
        "or https://events.eu.pagerduty.com/v2/enqueue in its European region.",
    )
    credential = EncryptedField(
        help_text="Slack and Teams: the address of the webhook or workflow, which is a secret. PagerDuty: "
        "the integration key. Signed webhook: the shared secret. Stored encrypted, shown nowhere."
    )
    least = models.CharField(
        "from",
        max_length=10,
        choices=Severity,
        default=Severity.WARNING,
        help_text="How bad it must be to go out by this channel.",
    )
    destinations = models.JSONField(
        default=list,
        blank=True,
        help_text="Only alerts of these destinations. Empty: of all, and of the site.",
    )
    tags = models.JSONField(
        default=list,
        blank=True,
        validators=[check_tags],
        help_text="Only alerts of cohorts that have one of these tags. Empty: of all.",
    )
    owners = models.JSONField(
        default=list, blank=True, help_text="Only alerts of cohorts of these owners. Empty: of all."
    )
    quiet_from = models.TimeField(
        null=True, blank=True, help_text="From this time of the day on only what is critical goes out …"
    )
    quiet_to = models.TimeField(null=True, blank=True, help_text="… until this time; then the rest does.")
    timezone = models.CharField(
        "time zone", max_length=64, default="UTC", help_text="Of the quiet hours, and of the weekly summary."
    )
    remind_hours = models.PositiveSmallIntegerField(
        "remind after hours",
        null=True,
        blank=True,
        help_text="What still needs somebody is sent again after so many hours. Empty: never.",
    )
    weekly = models.BooleanField(
        "weekly summary", default=False, help_text="On Mondays at 9: what was sent, what failed, what waits."
    )
    # The environment variable that a configuration file named, and its export names again.
    credential_env = models.CharField(max_length=200, blank=True, editable=False)
    summary_at = models.DateTimeField(null=True, editable=False)
    last_sent_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)

    # What people configure; the credential is handled apart.
    CONFIG_FIELDS: ClassVar[tuple[str, ...]] = (
        *("name", "kind", "enabled", "address", "least", "destinations", "tags", "owners"),
        *("quiet_from", "quiet_to", "timezone", "remind_hours", "weekly"),
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Forget when a summary was due that nobody wants: switched on again, it waits for a Monday."""
        if not self.weekly and self.summary_at is not None:
            self.summary_at = None
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = [*kwargs["update_fields"], "summary_at"]
        super().save(*args, **kwargs)

    def sends_elsewhere(self, before: AlertChannel) -> bool:
        """Say whether a secret that was stored before would go where it never went."""
        moved = (self.kind, self.address) != (before.kind, before.address)
        return moved and bool(before.credential) and self.kind != ChannelKind.EMAIL

    def clean(self) -> None:
        problems = {
            name: text
            for name, text in (
                ("address", self._wrong_address()),
                ("credential", self._wrong_credential()),
                ("destinations", _wrong_names(self.destinations)),
                ("owners", _wrong_texts(self.owners)),
                ("timezone", "" if _is_zone(self.timezone) else "There is no such time zone."),
                (
                    "quiet_to",
                    "Name both ends, or none." if _one_alone(self.quiet_from, self.quiet_to) else "",
                ),
            )
            if text
        }
        if problems:
            raise ValidationError(problems)

    def _wrong_address(self) -> str:
        if self.kind == ChannelKind.EMAIL:
            addresses = emails_of(self.address)
            bad = [one for one in addresses if not _is_email(one)]
            return (
                "Name at least one address." if not addresses else f"{bad[0]} is no address." if bad else ""
            )
        if self.kind == ChannelKind.WEBHOOK or (self.kind == ChannelKind.PAGERDUTY and self.address):
            return "" if _is_url(self.address) else "An address that begins with https:// is missing."
        return (
            "" if not self.address or self.kind == ChannelKind.PAGERDUTY else "It is given as the credential."
        )

    def _wrong_credential(self) -> str:
        if self.kind == ChannelKind.EMAIL:
            return ""
        if not self.credential:
            return "It is missing: see what it is for this kind of channel."
        try:
            text = self.credential.reveal()
        except SecretUnreadable as error:
            return str(error)
        in_address = self.kind in (ChannelKind.SLACK, ChannelKind.TEAMS)
        return "This is no address: it begins with https://." if in_address and not _is_url(text) else ""


class AlertDeliveryQuerySet(models.QuerySet["AlertDelivery"]):
    def due(self, now: Any, settings: Iterable[str]) -> AlertDeliveryQuerySet:
        """Return what is to be sent, by enabled channels and by these settings."""
        usable = Q(channel__enabled=True) | Q(setting__in=[*settings])
        return self.filter(usable, sent_at=None, next_at__lte=now, tries__lt=TRIES)

    def claim(self, pks: list[int], now: Any, later: Any) -> bool:
        """Take one try of a group; of several processes, one gets it."""
        mine = self.filter(pk__in=pks, sent_at=None, next_at__lte=now)
        return mine.update(tries=F("tries") + 1, next_at=later) == len(pks)


class AlertDelivery(models.Model):
    """An alert that goes out, or went out, by a channel: a row of the admin, or one that a setting names."""

    alert = models.ForeignKey("syncs.Alert", on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="deliveries", null=True)
    setting = models.CharField(max_length=30, blank=True)
    # Whom it reached that a setting named; the setting may be another one by now.
    sent_to = models.TextField(blank=True)
    next_at = models.DateTimeField(default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    reminders = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)

    objects: ClassVar[models.Manager[AlertDelivery]] = AlertDeliveryQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            # A second one would tell the same people twice.
            models.UniqueConstraint(fields=["alert", "channel"], name="alert_once_by_channel"),
            models.UniqueConstraint(
                fields=["alert", "setting"], condition=Q(channel=None), name="alert_once_by_setting"
            ),
        ]
        indexes = [
            # The worker's question: what is still to be sent?
            models.Index(fields=["next_at"], condition=Q(sent_at=None), name="alert_delivery_unsent"),
        ]

    def __str__(self) -> str:
        return f"{self.alert} by {self.channel or self.setting}"


def emails_of(address: str) -> list[str]:
    return [one.strip() for one in address.split(",") if one.strip()]


def _is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        check_base_url(text.partition("?")[0])  # the address of a workflow has a query
    except ValidationError:
        return False
    return True


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _one_alone(first: object, second: object) -> bool:
    return (first is None) != (second is None)


def _wrong_texts(value: object) -> str:
    is_list = isinstance(value, list) and all(isinstance(one, str) and 0 < len(one) <= 150 for one in value)
    return "" if is_list and len(value) <= 50 else "Name up to 50, each of at most 150 letters."  # type: ignore[arg-type]


def _wrong_names(value: object) -> str:
    if said := _wrong_texts(value):
        return said
    assert isinstance(value, list)
    known = set(Destination.objects.filter(name__in=value).values_list("name", flat=True))
    unknown = [name for name in value if name not in known]
    return f"There is no destination {unknown[0]}." if unknown else ""
