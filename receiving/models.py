"""What the partner's side keeps: workspaces and their keys, lists and their members, users' traits,
users that are known, message ids that were seen, and a log of the calls.

Members, traits and known users are written by bulk statements (store.py); their models are here so
that migrations and queries have one place to look at.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from events.user_ids import UserIdField

MEGABYTE = 1024 * 1024


def at_most_what_the_server_reads(value: int) -> None:
    """A workspace's limit cannot be above the server's (MAX_BODY_BYTES)."""
    if value > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise ValidationError(f"This server reads {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes at most.")


def percent_field(help_text: str) -> models.PositiveSmallIntegerField[int, int]:
    """A share of all calls, 0 to 100."""
    return models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(100)], help_text=help_text
    )


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def with_faults(self) -> WorkspaceQuerySet:
        """Those that answer otherwise than they should, on purpose."""
        return self.exclude(
            fault_delay_ms=0, fault_429_percent=0, fault_reset_percent=0, fault_rejected_percent=0
        )


class Workspace(models.Model):
    """Who owns lists and users: every key belongs to one workspace and sees nothing of another."""

    slug = models.SlugField("name", max_length=50, unique=True, help_text="A short name for scripts: acme")
    known_users_only = models.BooleanField(
        default=False,
        help_text="Refuse (404) to add or identify users who were not made known by upload or API.",
    )
    page_calls = models.BooleanField(
        "page, screen and group calls are events",
        default=True,
        help_text="Named page, screen and group. Otherwise they are answered, and counted as ignored.",
    )
    max_body_bytes = models.PositiveIntegerField(
        "largest body",
        default=10 * MEGABYTE,
        validators=[MinValueValidator(1024), at_most_what_the_server_reads],
        help_text="In bytes, after inflating a gzip body. Larger ones are answered with 413.",
    )
    max_items = models.PositiveIntegerField(
        "most items in a call",
        default=50_000,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="User ids or batch items. Partners' senders use 1,000 to 10,000.",
    )
    max_lists = models.PositiveIntegerField(
        "most lists",
        default=10_000,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Creating more is answered with 403. Empty: no limit.",
    )
    max_traits = models.PositiveIntegerField(
        "most traits",
        default=10_000,
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Different names. A call that brings one more is answered with 403. Empty: no limit.",
    )
    rate_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Calls that each key may make in a window. Empty: no limit.",
    )
    rate_window_seconds = models.PositiveIntegerField(default=60, validators=[MinValueValidator(1)])
    log_days = models.PositiveSmallIntegerField(
        "keep log for days", default=14, help_text="Older entries of the request log are deleted."
    )
    log_max_bytes = models.PositiveBigIntegerField(
        "largest log",
        default=256 * MEGABYTE,
        help_text="In bytes of kept bodies. The oldest entries are deleted first.",
    )
    fault_delay_ms = models.PositiveIntegerField(
        "delay",
        default=0,
        validators=[MaxValueValidator(600_000)],
        help_text="Milliseconds before each reply.",
    )
    fault_429_percent = percent_field("Share of calls answered with 429 and a Retry-After of one second.")
    fault_reset_percent = percent_field(
        "Share of calls whose connection is reset, by turns before and after the call took effect."
    )
    fault_rejected_percent = percent_field(
        "Share of users who are refused as invalid: always the same users."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[Workspace]] = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        permissions = [("inject_faults", "Can set a workspace to answer with faults")]
        constraints = [
            models.CheckConstraint(
                name="workspace_fault_percents_to_100",
                condition=Q(
                    fault_429_percent__lte=100, fault_reset_percent__lte=100, fault_rejected_percent__lte=100
                ),
                violation_error_message="A percentage is at most 100.",
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def faults(self) -> list[str]:
        """What the workspace is set to do to its callers, as phrases."""
        return [
            phrase
            for value, phrase in (
                (self.fault_delay_ms, f"answers {self.fault_delay_ms:,} ms late"),
                (self.fault_429_percent, f"refuses {self.fault_429_percent} % with 429"),
                (self.fault_reset_percent, f"resets {self.fault_reset_percent} % of the connections"),
                (self.fault_rejected_percent, f"rejects {self.fault_rejected_percent} % of the users"),
            )
            if value
        ]

    @property
    def injects_faults(self) -> bool:
        return bool(
            self.fault_delay_ms
            or self.fault_429_percent
            or self.fault_reset_percent
            or self.fault_rejected_percent
        )


class ApiKey(models.Model):
    """A credential of a workspace. The key itself is shown once and kept as a hash (keys.py)."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100, blank=True, help_text="Who uses it: Amplitude, production")
    app_id = models.CharField(
        "app id",
        max_length=100,
        blank=True,
        help_text="When set, a call that brings an app_id header must bring this one.",
    )
    write_only = models.BooleanField(
        "for web pages and apps",
        default=False,
        help_text="It may only write events and traits: whoever has the page or the app can read this key.",
    )
    origins = models.TextField(
        "origins of pages",
        blank=True,
        help_text="Where pages that use it come from, one a line: https://shop.example. * allows all.",
    )
    prefix = models.CharField(
        max_length=12, editable=False, help_text="How the key begins, to tell keys apart."
    )
    # 256 random bits cannot be guessed, so a plain SHA-256 is enough, and costs a microsecond.
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The rate limit's counter: seconds since 1970 when the window began, calls counted in it.
    window_began = models.FloatField(default=0, editable=False)
    window_calls = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = "API key"
        permissions = [("revoke_apikey", "Can revoke an API key")]
        ordering = ["workspace", "-created_at"]

    def __str__(self) -> str:
        return f"{self.name or 'key'} ({self.prefix}…)"


class MemberSet(models.Model):
    """The number under which a list's members are kept.

    A list points to its set. So a list is replaced whole by pointing it to another set, and deleted by
    dropping the pointer: both are short transactions, whatever the size. What is dropped is emptied
    in the background of the call, and by `prune` after a crash.
    """

    # Null while a list, or the pages of a replacement under way, uses the set.
    dropped_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # prune: which sets are left to be emptied?
            models.Index(
                name="member_set_dropped", fields=["dropped_at"], condition=Q(dropped_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"set {self.pk}"


class List(models.Model):
    """A list of users that a sender created. Lists are never merged by name."""

    # Its index is the one of list_origin_once.
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, db_index=False, related_name="lists")
    name = models.TextField()
    member_set = models.OneToOneField(MemberSet, on_delete=models.PROTECT, related_name="list")
    origin = models.CharField(
        max_length=100,
        null=True,
        editable=False,
        help_text="For a repeat to find the list again: a Mixpanel cohort, an idempotency key.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            # Two first pages of one Mixpanel cohort, or two repeats of one create call, make one list.
            models.UniqueConstraint(name="list_origin_once", fields=["workspace", "origin"]),
        ]
        permissions = [("drain_list", "Can empty or delete a list that a partner filled")]

    def __str__(self) -> str:
        return self.name


class Replacement(models.Model):
    """A list that comes in pages, and takes the place of what the list was when its last page has come."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, db_index=False)
    session = models.CharField(max_length=64, help_text="SHA-256 of the sender's session id")
    member_set = models.OneToOneField(MemberSet, null=True, on_delete=models.SET_NULL)
    total_pages = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    # Kept for a while, so that a page that is sent again after the end changes nothing.
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Four pages at once of a new session make one replacement.
            models.UniqueConstraint(name="replacement_session_once", fields=["workspace", "session"]),
        ]

    def __str__(self) -> str:
        return f"replacement {self.pk}"


class ReplacementPage(models.Model):
    """A page that has come."""

    pk = models.CompositePrimaryKey("replacement_id", "number")
    replacement = models.ForeignKey(Replacement, on_delete=models.CASCADE, related_name="pages")
    number = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"page {self.number}"


class ListMember(models.Model):
    """One user on one list. The key's order is the user's order, so that pages are key ranges.

    No foreign key: its trigger would cost more than the row. The call that writes holds the list's row
    locked instead (store.py).
    """

    pk = models.CompositePrimaryKey("set_id", "user_id")
    set_id = models.BigIntegerField()
    user_id = UserIdField()

    def __str__(self) -> str:
        return str(self.user_id)


class Trait(models.Model):
    """The name of a property, as it came: `[Amplitude] name: id`, `name:id`, `email`."""

    # Its index is the one of trait_name_once.
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, db_index=False, related_name="traits")
    name = UserIdField()
    # Since when changes of its values are noted, in microseconds since 1970: see profiles.py.
    watched_at = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(name="trait_name_once", fields=["workspace", "name"])]

    def __str__(self) -> str:
        return str(self.name)


class UserTrait(models.Model):
    """One user's value of one trait; the value is JSON text, empty when the trait was unset.

    Read in user order, like a list. Text and not a JSON column: PostgreSQL's would refuse or rewrite some of
    what came. The later time decides between two values, not the later arrival: see traits.py.
    """

    pk = models.CompositePrimaryKey("trait_id", "user_id")
    trait_id = models.BigIntegerField()
    user_id = UserIdField()
    value = models.TextField()
    time = models.BigIntegerField(help_text="When it was said, by our clock: microseconds since 1970.")
    # When the value became another one here, if its trait is watched.
    changed_at = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            # Of a watched trait: whose value has changed since? Values of others are not in it.
            models.Index(
                name="user_trait_changed",
                fields=["trait_id", "changed_at", "user_id"],
                condition=Q(changed_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.value}"


class KnownUser(models.Model):
    """A user whom a workspace with *known users only* takes."""

    pk = models.CompositePrimaryKey("workspace_id", "user_id")
    workspace_id = models.BigIntegerField()
    user_id = UserIdField()

    def __str__(self) -> str:
        return str(self.user_id)


class SeenMessage(models.Model):
    """A `messageId` or `Idempotency-Key` that took effect; a repeat of it changes nothing."""

    pk = models.CompositePrimaryKey("workspace_id", "message")
    workspace_id = models.BigIntegerField()
    message = models.CharField(max_length=32, help_text="BLAKE2b of the id, 16 bytes in hex")
    seen_at = models.DateTimeField()

    class Meta:
        # prune: message ids older than a repeat can be.
        indexes = [models.Index(name="seen_message_age", fields=["seen_at"])]

    def __str__(self) -> str:
        return self.message


class RequestLog(models.Model):
    """One call: who, what, how it was answered, and what it brought.

    Written in the transaction of the call's own write, so that it costs no commit. Its references have
    no constraint in the database: checking one locks the key's row for every call.
    """

    workspace = models.ForeignKey(
        Workspace,
        null=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="requests",
    )
    key = models.ForeignKey(
        ApiKey,
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="requests",
    )
    received_at = models.DateTimeField(db_index=True)
    duration_ms = models.FloatField("took (ms)")
    method = models.CharField(max_length=10)
    path = models.CharField(max_length=300)
    list_number = models.BigIntegerField("list id", null=True)
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=50, blank=True, help_text="The error's code; empty for a success.")
    message = models.TextField(blank=True)
    received = models.PositiveIntegerField(default=0, help_text="Users or items in the call.")
    changed = models.PositiveIntegerField(
        default=0, help_text="Members or values that are other than before."
    )
    ignored = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Items that are nothing to us: page views, devices."
    )
    refused = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Items that could not be taken; the message says why."
    )
    remote_address = models.CharField(max_length=45, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    replay_of = models.BigIntegerField(null=True)
    body_bytes = models.PositiveIntegerField(default=0, help_text="After inflating.")
    stored_bytes = models.PositiveIntegerField(default=0)
    body_head = models.TextField(blank=True)
    # Behind all that is searched, which then does not read it.
    body = models.BinaryField(null=True, help_text="gzip")
    # What names those of the call's events that came without an id: see incoming.Receipt.
    receipt = models.CharField(max_length=32, null=True, editable=False)

    class Meta:
        verbose_name = "request"
        ordering = ["-pk"]
        permissions = [("replay_requestlog", "Can replay a request that a partner sent")]
        # prune, and the log's page: a workspace's entries by age.
        indexes = [models.Index(name="request_log_of_workspace", fields=["workspace", "id"])]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class BodySearch(models.Model):
    """A search for the calls that named a user, done by a worker: see search.py."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    MOST_FOUND = 1_000

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE)
    user_id = UserIdField("user id", help_text="Exactly as the partner sends it.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    beat_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    # The number of the last entry that was looked at; the search goes from new to old.
    cursor = models.BigIntegerField(null=True, editable=False)
    scanned = models.PositiveIntegerField(default=0, editable=False)
    found = models.JSONField(default=list, editable=False)

    class Meta:
        verbose_name = "search for a user"
        verbose_name_plural = "searches for a user"
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"calls that named {self.user_id}"

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self.MOST_FOUND
