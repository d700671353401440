"""Destinations as rows. `Destination.endpoint()` is what the rest of the program sends with."""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from destinations import mapping, validators
from destinations.addresses import parse_networks
from destinations.checking import problems_of
from destinations.endpoint import (
    LONGEST_LIST,
    MOST_USERS,
    AuthMode,
    BodyFormat,
    Delivery,
    Endpoint,
    Kind,
    ListIdFrom,
    to_json,
)
from destinations.mapping import PeopleMapping
from destinations.presets import PRESETS, preset_choices
from destinations.secrets import EncryptedField, NamedSecrets, NamedSecretsField

DEFAULT = Endpoint(name="", base_url="")
LIST_FIELDS = ("create_path", "create_template", "add_path", "add_template", "remove_path", "remove_template")
MAPPING_FIELDS = ("identifiers", "identifiers_sent", "traits", "consent_field", "profiles_workspace")
PROPERTY_FIELDS = ("identify_path", "batch_path", "item_template", "batch_template")


SECRET_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
ANOTHER_HOST = "The address is at another host: enter this again, or it would be sent there unasked."


class JsonTextFormField(forms.CharField):
    """Takes what a browser sends: with other line ends than it was given."""

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(initial, self.to_python(data))


if TYPE_CHECKING:
    TextColumn = models.TextField[Any, str]
else:
    TextColumn = models.TextField


class JsonTextField(TextColumn):
    """JSON kept as the text that people wrote: a JSON column of PostgreSQL would lose the order of keys."""

    def to_python(self, value: Any) -> str:
        return to_json(value) if isinstance(value, dict | list) else super().to_python(value)

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**({"form_class": JsonTextFormField} | kwargs))


class DestinationQuerySet(models.QuerySet["Destination"]):
    def pause(self, pk: int, reason: str, until: datetime | None = None) -> bool:
        """Stop sending to a destination; False when it was paused already (its first reason is kept).

        `until`: when it goes on by itself (`resume_over`); None when somebody resumes it.
        """
        row = self.filter(pk=pk, paused_at=None)
        return row.update(paused_at=timezone.now(), pause_reason=reason[:500], paused_until=until) == 1

    def resume(self, pk: int) -> bool:
        """Let a paused destination send again; False when it was not paused."""
        paused = self.filter(pk=pk).exclude(paused_at=None)
        return paused.update(paused_at=None, pause_reason="", paused_until=None) == 1

    def resume_over(self, now: datetime) -> int:
        """Let those send again whose pause is over; return how many."""
        return self.filter(paused_until__lte=now).update(paused_at=None, pause_reason="", paused_until=None)


class Destination(models.Model):
    """Where cohorts are sent and how. The defaults are those of the protocol."""

    name = models.SlugField(
        unique=True,
        help_text="A short name for commands and configuration files: letters, digits, hyphens.",
    )
    title = models.CharField(
        max_length=200,
        blank=True,
        validators=[validators.check_line],
        help_text="The name that people see. Optional.",
    )
    preset = models.CharField(
        max_length=40,
        choices=preset_choices,
        default="custom",
        help_text="Where the fields below got their first values from.",
    )
    base_url = models.CharField(
        "base URL",
        max_length=2000,
        validators=[validators.check_base_url],
        help_text="What every path below is added to: https://partner.example/api",
    )
    kind = models.CharField(
        max_length=20,
        choices=[
            (Kind.LIST.value, "List: the partner keeps a list of user ids"),
            (Kind.PROPERTY.value, "Property: the partner keeps a property on each user"),
        ],
        default=Kind.LIST.value,
        help_text="What the partner keeps.",
    )
    delivery = models.CharField(
        max_length=20,
        choices=[
            (Delivery.BATCH.value, "Many users a request"),
            (Delivery.SINGLE.value, "One user a request (property only, slow)"),
        ],
        default=Delivery.BATCH.value,
        help_text="How property updates travel. Lists are always sent in batches.",
    )

    auth_mode = models.CharField(
        "authentication",
        max_length=20,
        choices=[
            (AuthMode.KEY.value, "Basic, the key as user name, no password (the protocol's)"),
            (AuthMode.BASIC.value, "Basic, user name and secret"),
            (AuthMode.BEARER.value, "Authorization: Bearer"),
            (AuthMode.HEADER.value, "A header of another name"),
            (AuthMode.OAUTH2.value, "OAuth 2: a token that is fetched with the credential"),
            (AuthMode.NONE.value, "None"),
        ],
        default=AuthMode.KEY.value,
        help_text="How the credential is sent.",
    )
    auth_username = models.CharField(
        "user name",
        max_length=500,
        blank=True,
        validators=[validators.check_line],
        help_text="For Basic with a user name and a secret.",
    )
    auth_header = models.CharField(
        "header name", max_length=200, blank=True, help_text="For a header of another name: X-Api-Key"
    )
    credential = EncryptedField(help_text="The key or secret. Stored encrypted, shown nowhere.")
    credential_env = models.CharField(
        "credential's environment variable",
        max_length=200,
        blank=True,
        editable=False,
    )
    secrets = NamedSecretsField(
        "named secrets",
        help_text="Further secrets by name, for $secret_NAME in templates, paths and headers.",
    )
    secret_envs = models.JSONField(default=dict, blank=True, editable=False)
    oauth = models.JSONField(
        "OAuth 2",
        default=dict,
        blank=True,
        validators=[validators.check_oauth],
        help_text=(
            'For OAuth 2: {"grant": "client_credentials", "token_url": "https://…", "client_id": "…", '
            '"scope": "…"}. "grant" is client_credentials, refresh_token or jwt_bearer; the credential is '
            "the client's secret, the refresh token or the private key (PEM)."
        ),
    )
    extra_headers = models.JSONField(
        default=dict,
        blank=True,
        validators=[validators.check_headers],
        help_text='Fixed headers of every request: {"X-Source": "crm"}. '
        "They are shown: a secret stands there as $secret_NAME.",
    )

    source_label = models.CharField(
        max_length=200,
        default=DEFAULT.source_label,
        validators=[validators.check_line],
        help_text="Stands for $source_label.",
    )
    name_template = models.CharField(
        "external name",
        max_length=500,
        default=DEFAULT.name_template,
        validators=[validators.check_line],
        help_text="What a cohort is called at the partner. A sync keeps the name of its first run.",
    )
    slug_names = models.BooleanField(
        "slug of the cohort's name",
        default=False,
        help_text="Writes $cohort_name with letters, digits and hyphens only, at most 100 characters.",
    )
    integration_name = models.CharField(
        max_length=200,
        default=DEFAULT.integration_name,
        validators=[validators.check_line],
        help_text="Stands for $integration_name.",
    )
    integration_version = models.CharField(
        max_length=50,
        default=DEFAULT.integration_version,
        validators=[validators.check_line],
        help_text="Stands for $integration_version.",
    )

    create_path = models.CharField(
        max_length=1000,
        default=DEFAULT.create_path,
        validators=[validators.check_path],
        help_text="Creates the list, once for each sync.",
    )
    create_template = JsonTextField(
        default=DEFAULT.create_template,
        validators=[MaxLengthValidator(20_000)],
        help_text='The body, as JSON. With "$items" the list is made with its first user, where a partner '
        "makes none without.",
    )
    list_id_place = models.CharField(
        "list id in the reply",
        max_length=200,
        default=DEFAULT.list_id_place,
        validators=[validators.check_place],
        help_text="Where the reply to the create call has the new list's id: response.listId",
    )
    add_path = models.CharField(
        max_length=1000,
        default=DEFAULT.add_path,
        validators=[validators.check_path],
        help_text="Adds users to the list.",
    )
    add_template = JsonTextField(
        default=DEFAULT.add_template, validators=[MaxLengthValidator(20_000)], help_text="The body, as JSON."
    )
    remove_path = models.CharField(
        max_length=1000,
        default=DEFAULT.remove_path,
        validators=[validators.check_path],
        help_text="Removes users from the list.",
    )
    remove_template = JsonTextField(
        default=DEFAULT.remove_template,
        validators=[MaxLengthValidator(20_000)],
        help_text="The body, as JSON.",
    )
    list_item_template = JsonTextField(
        "one user of a list",
        default=DEFAULT.list_item_template,
        validators=[MaxLengthValidator(20_000)],
        help_text='What one user of "$items" is, as JSON: "$user_id", or {"id": "$user_id"}.',
    )
    remove_item_template = JsonTextField(
        "one user who leaves",
        blank=True,
        default=DEFAULT.remove_item_template,
        validators=[MaxLengthValidator(20_000)],
        help_text="Where the partner wants another form for who leaves, as JSON. Empty: the same for both.",
    )
    change_template = JsonTextField(
        "adds and removes in one",
        blank=True,
        default=DEFAULT.change_template,
        validators=[MaxLengthValidator(20_000)],
        help_text='Where one request can do both, as JSON: {"add": "$added", "remove": "$removed"}, or '
        '"$items" for all, each with its $value. It goes where adds go. Empty: removes follow when all '
        "adds are done.",
    )
    list_id_from = models.CharField(
        "list id",
        max_length=20,
        choices=[
            (ListIdFrom.CREATED.value, "The reply to the create call says it"),
            (ListIdFrom.FOUND.value, "A list of that name is looked for, else created"),
            (ListIdFrom.GIVEN.value, "It is written down for each cohort"),
            (ListIdFrom.NAMED.value, "The external name is the id"),
        ],
        default=DEFAULT.list_id_from.value,
        help_text="Where the id of a sync's list comes from.",
    )
    given_lists = models.JSONField(
        "list ids",
        default=dict,
        blank=True,
        validators=[validators.check_given_lists],
        help_text='For list ids that are written down: {"buyers": "123"}, the cohort\'s key and its list.',
    )
    replaces_lists = models.BooleanField(
        "whole lists",
        default=False,
        help_text="For a partner that only knows whole lists: a run in which anybody moves sends everybody, "
        "by the call that adds, in one request: the batch size is the most users that such a list may have. "
        "Or in several of that size, if the call says which one it is: "
        "$session, $sequence, $is_last, $total.",
    )
    find_path = models.CharField(
        max_length=1000,
        blank=True,
        default=DEFAULT.find_path,
        validators=[validators.check_path],
        help_text="Looks for a list by its name, by GET: /lists?name=$external_name",
    )
    find_places = models.JSONField(
        "where it is found",
        default=dict,
        blank=True,
        validators=[validators.check_find_places],
        help_text="Where that reply has the lists, and in each its name and id: "
        '{"rows": "lists", "name": "name", "id": "id"}.',
    )
    test_path = models.CharField(
        "test call",
        max_length=1000,
        blank=True,
        validators=[validators.check_path],
        help_text="A call that changes nothing and needs the credential: /me",
    )
    test_proves = models.CharField(
        "what it proves",
        max_length=200,
        blank=True,
        validators=[validators.check_line],
        help_text="What a success of the test call shows: the key is accepted, and may write.",
    )
    read_path = models.CharField(
        "read call",
        max_length=1000,
        blank=True,
        validators=[validators.check_path],
        help_text="Reads who is on a list, page by page, by GET: /lists/$list_id/members?limit=1000",
    )
    read_places = models.JSONField(
        "where its members are",
        default=dict,
        blank=True,
        validators=[validators.check_read_places],
        help_text='Where that reply has the members, and how the next page is asked for: {"rows": "members", '
        '"id": "userId", "by": "cursor", "next": "next", "parameter": "after"}. "by" is cursor, link, '
        "page, offset or none.",
    )
    poll_path = models.CharField(
        "call that asks again",
        max_length=1000,
        blank=True,
        validators=[validators.check_path],
        help_text="Where a partner only accepts a request, and works on it later: asks by GET what became of "
        "it. /jobs/$job_id",
    )
    poll_fields = models.JSONField(
        "what it says",
        default=dict,
        blank=True,
        validators=[validators.check_poll_fields],
        help_text="Where the reply to an add or remove has the id of the request, where the later reply has "
        'its state, and what states mean: {"id": "requestId", "state": "status", "done": ["SUCCESS"], '
        '"failed": ["FAILED"]}. Any other state is waited for: "wait" seconds at first (5), then twice as '
        'long each time, "longest" at most (120), "most" in all (21600).',
    )
    identify_path = models.CharField(
        max_length=1000,
        default=DEFAULT.identify_path,
        validators=[validators.check_path],
        help_text="Sets the property of one user.",
    )
    batch_path = models.CharField(
        max_length=1000,
        default=DEFAULT.batch_path,
        validators=[validators.check_path],
        help_text="Sets the property of many users.",
    )
    item_template = JsonTextField(
        "one user",
        default=DEFAULT.item_template,
        validators=[MaxLengthValidator(20_000)],
        help_text="One user's part of the body, or the whole body when one user is sent a request, as JSON.",
    )
    batch_template = JsonTextField(
        "batch",
        default=DEFAULT.batch_template,
        validators=[MaxLengthValidator(20_000)],
        help_text="The body of a batch, as JSON.",
    )
    methods = models.JSONField(
        default=dict,
        blank=True,
        validators=[validators.check_methods],
        help_text='Other methods than POST: {"add": "PUT", "remove": "DELETE"}. '
        "Names: create, add, remove, identify, batch, test, poll.",
    )
    value_words = models.JSONField(
        default=dict,
        blank=True,
        validators=[validators.check_value_words],
        help_text='What "$value" becomes: {"in": "1", "out": ""}. Empty: true and false.',
    )
    body_format = models.CharField(
        max_length=20,
        choices=[
            (BodyFormat.JSON.value, "JSON"),
            (BodyFormat.FORM.value, "A form (application/x-www-form-urlencoded)"),
            (BodyFormat.NDJSON.value, "One user a line (NDJSON)"),
            (BodyFormat.CSV.value, "One user a line, below a line of names (CSV)"),
        ],
        default=DEFAULT.body_format.value,
        help_text="How a body is written.",
    )
    gzip = models.BooleanField("gzip", default=False, help_text="Compresses bodies.")
    signature = models.JSONField(
        default=dict,
        blank=True,
        validators=[validators.check_signature],
        help_text='Signs each body (HMAC): {"header": "X-Signature", "secret": "signing", '
        '"algorithm": "sha256", "prefix": "sha256="}.',
    )
    idempotency_key = models.BooleanField(
        "Idempotency-Key header",
        default=False,
        help_text="The same for every retry of a request, another for every other request.",
    )
    message_ids = models.BooleanField(
        "messageId for each user",
        default=False,
        help_text="For Segment-compatible partners: made from run, user and value.",
    )

    batch_size = models.PositiveIntegerField(
        default=DEFAULT.batch_size,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_LIST)],
        help_text="Users in one request, 1 to 10,000; to 1,000,000 where a whole list is one.",
    )
    threads = models.PositiveSmallIntegerField(
        default=DEFAULT.threads,
        validators=[MinValueValidator(1), MaxValueValidator(32)],
        help_text="Requests in flight at a time, 1 to 32. Amplitude uses 4.",
    )
    max_bytes = models.PositiveIntegerField(
        "byte limit",
        default=DEFAULT.max_bytes,
        validators=[MinValueValidator(10_000), MaxValueValidator(100_000_000)],
        help_text="The largest body, in bytes: a batch is cut shorter to stay below.",
    )
    rate = models.FloatField(
        null=True,
        blank=True,
        validators=[validators.check_finite, MinValueValidator(0.001), MaxValueValidator(10_000)],
        help_text="Requests a second at most. Empty: no limit.",
    )
    connect_timeout = models.FloatField(
        default=DEFAULT.connect_timeout,
        validators=[validators.check_finite, MinValueValidator(0.1), MaxValueValidator(300)],
        help_text="Seconds to connect.",
    )
    read_timeout = models.FloatField(
        default=DEFAULT.read_timeout,
        validators=[validators.check_finite, MinValueValidator(0.1), MaxValueValidator(300)],
        help_text="Seconds without a byte from the partner.",
    )
    deadline = models.FloatField(
        default=DEFAULT.deadline,
        validators=[validators.check_finite, MinValueValidator(0.1), MaxValueValidator(300)],
        help_text="Seconds for one request in all, however slowly the reply drips.",
    )
    identifiers = models.JSONField(
        "known by",
        default=list,
        blank=True,
        validators=[validators.check_identifiers],
        help_text='Whom the partner knows people by: [{"field": "email", "filters": ["email", "sha256"]}]. '
        "Fields are those of profiles, and user_id. Empty: our user id.",
    )
    identifiers_sent = models.CharField(
        "of several",
        max_length=20,
        choices=[(mapping.FIRST, "The first that a person has"), (mapping.EVERY, "All that a person has")],
        default=mapping.FIRST,
        help_text="Which of these identifiers are sent.",
    )
    traits = models.JSONField(
        "what goes along",
        default=list,
        blank=True,
        validators=[validators.check_traits],
        help_text='Fields that are sent with a person: [{"field": "plan", "as": "tier"}]. A template has '
        "each as $trait_tier, and all as $traits.",
    )
    consent_field = models.CharField(
        "only with consent",
        max_length=255,
        blank=True,
        validators=[validators.check_line],
        help_text="A field of profiles that must be true: consent.marketing. Others are held back here.",
    )
    profiles_workspace = models.SlugField(
        "profiles of",
        max_length=50,
        blank=True,
        help_text="The workspace whose profiles have these fields.",
    )
    rules = models.JSONField(
        default=list,
        blank=True,
        validators=[validators.check_rules],
        help_text=(
            "What replies mean, before the usual table, as JSON: "
            '[{"status": 409, "code": "locked", "then": "retry", "reason": "locked", "message": "…"}]. '
            '"then" is retry, reject, recreate, pause or users_failed.'
        ),
    )

    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    pause_reason = models.CharField(max_length=500, blank=True, editable=False)
    # When it goes on by itself; NULL: when somebody resumes it.
    paused_until = models.DateTimeField(null=True, editable=False)
    # The place to which a person has agreed to move: syncs that held something elsewhere start anew.
    accepted_fingerprint = models.CharField(max_length=100, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = DestinationQuerySet.as_manager()

    # What a form or a configuration file may set; the credential is handled apart.
    CONFIG_FIELDS: ClassVar[tuple[str, ...]] = (
        *("name", "title", "preset", "base_url", "kind", "delivery"),
        *("auth_mode", "auth_username", "auth_header", "oauth", "extra_headers"),
        *("source_label", "name_template", "slug_names", "integration_name", "integration_version"),
        *LIST_FIELDS,
        *(
            "list_item_template",
            "remove_item_template",
            "change_template",
            "list_id_from",
            "list_id_place",
            "given_lists",
            "replaces_lists",
            "find_path",
            "find_places",
        ),
        *("test_path", "test_proves", "read_path", "read_places", "poll_path", "poll_fields"),
        *PROPERTY_FIELDS,
        *("methods", "value_words", "body_format", "gzip", "signature", "idempotency_key", "message_ids"),
        *("batch_size", "threads", "max_bytes", "rate", "connect_timeout", "read_timeout", "deadline"),
        "rules",
        *MAPPING_FIELDS,
    )

    class Meta:
        ordering = ["name"]
        # Of those who work with destinations but do not configure them.
        permissions = [("pause_destination", "Can pause and resume destinations")]
        constraints = [
            # The driver divides by these, or makes a pool of them: 0 would hang or crash it.
            models.CheckConstraint(
                condition=Q(batch_size__gte=1)
                & (Q(batch_size__lte=MOST_USERS) | Q(replaces_lists=True, batch_size__lte=LONGEST_LIST)),
                name="destination_batch_size_within_limits",
            ),
            models.CheckConstraint(
                condition=Q(threads__gte=1, threads__lte=32), name="destination_threads_1_to_32"
            ),
            # A user id has up to 1,024 bytes, six times that when escaped: one must always fit.
            models.CheckConstraint(
                condition=Q(max_bytes__gte=10_000), name="destination_max_bytes_holds_a_user"
            ),
            models.CheckConstraint(
                condition=Q(rate__isnull=True) | Q(rate__gt=0), name="destination_rate_positive"
            ),
            # A timeout of 0 makes a socket non-blocking: every request would fail.
            models.CheckConstraint(
                condition=Q(connect_timeout__gt=0, read_timeout__gt=0, deadline__gt=0),
                name="destination_timeouts_positive",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in Kind]), name="destination_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(delivery__in=[delivery.value for delivery in Delivery]),
                name="destination_delivery_known",
            ),
            models.CheckConstraint(
                condition=Q(auth_mode__in=[mode.value for mode in AuthMode]),
                name="destination_auth_mode_known",
            ),
            # A reason without a pause would be shown for a destination that sends.
            models.CheckConstraint(
                condition=Q(paused_at__isnull=False) | Q(pause_reason=""),
                name="destination_reason_only_when_paused",
            ),
            # It would be resumed, and a pause of later with it.
            models.CheckConstraint(
                condition=Q(paused_at__isnull=False) | Q(paused_until=None),
                name="destination_until_only_when_paused",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    def get_absolute_url(self) -> str:
        return reverse("admin:destinations_destination_overview", args=[self.pk])

    @classmethod
    def from_preset(cls, preset: str) -> "Destination":
        """Return a new, unsaved destination with the values of a preset; KeyError for an unknown one."""
        return cls(preset=preset, **deepcopy(dict(PRESETS[preset].fields)))

    @property
    def host(self) -> str:
        """Return the partner's host, with a port that is not the usual one."""
        return urlsplit(self.base_url).netloc

    @property
    def named_secrets(self) -> NamedSecrets:
        return cast(NamedSecrets, self.secrets)

    def seal_secrets(self, secrets: Mapping[str, str]) -> None:
        """Replace the named secrets by these."""
        self.secrets = NamedSecrets.seal(secrets)  # type: ignore[assignment]

    @property
    def origins(self) -> set[str]:
        """Return where the stored secrets are sent: scheme and host of the partner, and of its tokens."""
        token_url = self.oauth.get("token_url", "") if isinstance(self.oauth, dict) else ""
        addresses = [self.base_url, *([token_url] if isinstance(token_url, str) and token_url else [])]
        return {f"{urlsplit(address).scheme}://{urlsplit(address).netloc}".lower() for address in addresses}

    def secrets_for_another_host(self, before: set[str], held: set[str], given: set[str]) -> set[str]:
        """Return which of the held secrets must be given again: they would go where they never went.

        before: `origins` until now. given: those that were entered with this change.
        """
        return held - given if before and self.origins - before else set()

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def fingerprint(self) -> str:
        """Return the digest of where the data goes: see `Endpoint.fingerprint`."""
        return self._endpoint("", {}).fingerprint

    @property
    def mapping(self) -> PeopleMapping | None:
        """Return whom the partner knows people by; None where that is our user id, and nothing goes along."""
        if not (self.identifiers or self.traits or self.consent_field):
            return None
        return PeopleMapping(
            mapping.fields_of(self.identifiers) or mapping.PLAIN.identifiers,
            self.identifiers_sent == mapping.EVERY,
            mapping.fields_of(self.traits),
            self.profiles_workspace,
            self.consent_field,
        )

    def endpoint(self) -> Endpoint:
        """Return this destination as the value that requests are made with.

        Raises SecretUnreadable when the stored credential cannot be decrypted.
        """
        return self._endpoint(self.credential.reveal(), self.named_secrets.reveal())

    def endpoint_without_secrets(self) -> Endpoint:
        """Return the same value without credential and secrets, to look at."""
        return self._endpoint("", {})

    def _endpoint(self, credential: str, secrets: Mapping[str, str]) -> Endpoint:
        left_out = ("title", "preset", *MAPPING_FIELDS)
        copied = {name: getattr(self, name) for name in self.CONFIG_FIELDS if name not in left_out}
        copied |= {
            "kind": Kind(self.kind),
            "delivery": Delivery(self.delivery) if self.kind == Kind.PROPERTY else Delivery.BATCH,
            "auth_mode": AuthMode(self.auth_mode),
            "list_id_from": ListIdFrom(self.list_id_from),
            "body_format": BodyFormat(self.body_format),
        }
        networks = parse_networks(settings.OUTBOUND_ALLOW_NETS)
        return Endpoint(**copied, credential=credential, secrets=secrets, allow_nets=networks)

    def save_fields(self, names: Iterable[str]) -> None:
        """Save only these fields, so that a pause written meanwhile is not undone."""
        self.save(update_fields=[*names, "updated_at"])

    def clean(self) -> None:
        """Check what fields mean together. Raises ValidationError, keyed by field."""
        errors: dict[str, list[str]] = {}
        for name, text in problems_of(self):
            errors.setdefault(name, []).append(text)
        if errors:
            raise ValidationError(errors)
