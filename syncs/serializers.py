"""Syncs, runs and rejected users as JSON, for the REST API."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework import serializers

from cohorts.choices import ScheduleKind
from cohorts.definitions.parse import timezones
from cohorts.models import Cohort
from destinations.models import Destination
from syncs import held, lifecycle, reporting
from syncs.choices import ASKED_MODES, OPEN_RUNS, BatchState, RunMode
from syncs.models import Comparison, Difference, Rejection, Run, Sync, Try
from syncs.status.facts import facts_of
from syncs.status.state import State, state_of


class AwareDateTimeField(serializers.DateTimeField):
    """A time with its offset: without one, nobody could tell which zone was meant."""

    default_error_messages = {"naive": "Send the time with its offset: 2026-07-01T09:00:00+02:00."}

    def enforce_timezone(self, value: datetime) -> datetime:
        if timezone.is_naive(value):
            self.fail("naive")
        return super().enforce_timezone(value)


class NamedField(serializers.SlugRelatedField[Any]):
    """A row by its slug; what cannot be one never reaches the database."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(serializers.SlugField(max_length=100).run_validation(data))


class SyncListSerializer(serializers.ListSerializer[Any]):
    """Says how a page of syncs stands in a fixed number of queries."""

    def to_representation(self, data: Any) -> list[Any]:
        syncs = list(data)
        with_states(syncs)
        assert self.child is not None
        return [self.child.to_representation(sync) for sync in syncs]


def with_states(syncs: Iterable[Sync]) -> None:
    """Give each sync `facts`: what a state is told from."""
    facts = facts_of(syncs, timezone.now())
    for sync in syncs:
        vars(sync)["facts"] = facts[sync.pk]


class StateSerializer(serializers.Serializer[State]):
    label = serializers.CharField(  # type: ignore[assignment]  # a field of the reply hides DRF's label
        help_text="For people: Equal, Behind, Running, Failed …"
    )
    tone = serializers.CharField(help_text="success, info, warning, danger or default.")
    sentence = serializers.CharField(help_text="How the sync stands, in one sentence.")


class SyncSerializer(serializers.ModelSerializer[Sync]):
    name = serializers.CharField(
        source="__str__", read_only=True, help_text="`cohort-key:destination-name`; addresses the sync, too."
    )
    cohort = NamedField(
        slug_field="key", queryset=Cohort.objects.all(), help_text="The cohort's key. It cannot be changed."
    )
    destination = NamedField(
        slug_field="name",
        queryset=Destination.objects.all(),
        help_text="The destination's name. It cannot be changed.",
    )
    schedule_once_at = AwareDateTimeField(
        required=False, allow_null=True, help_text="For a schedule that runs once; with its offset."
    )
    state = serializers.SerializerMethodField()
    rejected = serializers.SerializerMethodField(
        help_text="Users whom the partner rejected, and who were not dismissed."
    )
    undelivered = serializers.SerializerMethodField(
        help_text="Users for whom no request went through, and who were not dismissed."
    )

    class Meta:
        model = Sync
        list_serializer_class = SyncListSerializer
        fields = [
            "id",
            "name",
            *Sync.CONFIG_FIELDS,
            "next_due_at",
            "state",
            "rejected",
            "undelivered",
            "settled_version",
            "dirty",
            "full_owed",
            "repeat_from",
            "pinned_version",
            "pinned_at",
            "pinned_by",
            "list_id",
            "external_name",
            "archived_at",
            "created_at",
        ]
        read_only_fields = [
            "next_due_at",
            "settled_version",
            "dirty",
            "full_owed",
            "repeat_from",
            "pinned_version",
            "pinned_at",
            "pinned_by",
            "list_id",
            "external_name",
            "archived_at",
            "created_at",
        ]
        extra_kwargs = {"guard_percent": {"max_value": 100}}
        # The pair's uniqueness is told below: an archived pair is taken up again.
        validators: list[Any] = []

    def get_state(self, sync: Sync) -> StateSerializer:
        return StateSerializer(state_of(vars(sync)["facts"])).data  # type: ignore[return-value]

    def get_rejected(self, sync: Sync) -> int:
        return int(vars(sync)["facts"].rejected)

    def get_undelivered(self, sync: Sync) -> int:
        return int(vars(sync)["facts"].undelivered)

    def to_representation(self, instance: Sync) -> dict[str, Any]:
        if "facts" not in vars(instance):
            with_states([instance])
        return super().to_representation(instance)

    def validate_timezone(self, name: str) -> str:
        if name not in timezones():
            raise serializers.ValidationError(f"There is no time zone “{name}”. Example: Europe/Berlin.")
        return name

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        if self.instance:
            self._keep_pair(attrs)
        self._check_schedule(attrs)
        return attrs

    def _keep_pair(self, attrs: dict[str, Any]) -> None:
        for name in ("cohort", "destination"):
            if attrs.get(name, getattr(self.instance, name)) != getattr(self.instance, name):
                raise serializers.ValidationError(
                    {name: f"The {name} of a sync cannot be changed: make another sync."}, code="unchangeable"
                )

    def _check_schedule(self, attrs: dict[str, Any]) -> None:
        names = ("schedule_kind", "schedule_once_at", "schedule_at", "schedule_cron", "timezone")
        before = self.instance or Sync()
        made = Sync(**{name: attrs.get(name, getattr(before, name)) for name in names})
        try:
            made.clean()
        except ModelError as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        once = attrs.get("schedule_once_at")
        if made.schedule_kind == ScheduleKind.ONCE and once and once <= timezone.now():
            raise serializers.ValidationError(
                {"schedule_once_at": "This time has passed: the sync would never run."}, code="passed"
            )

    def create(self, validated_data: dict[str, Any]) -> Sync:
        """Make the sync, or take the pair's archived one up again, with what its partner holds."""
        pair = {name: validated_data[name] for name in ("cohort", "destination")}
        sync = Sync.objects.exclude(archived_at=None).filter(**pair).first()
        if sync:
            lifecycle.restore(sync)
            sync.refresh_from_db()
            return self.update(sync, {"enabled": True, **validated_data})
        sync = Sync(**validated_data)
        sync.reschedule(timezone.now())
        try:
            with transaction.atomic():
                sync.save()
        except IntegrityError:
            raise serializers.ValidationError(
                "There is a sync of this pair already.", code="unique"
            ) from None
        return sync

    def update(self, instance: Sync, validated_data: dict[str, Any]) -> Sync:
        """Save only what was sent: a driver writes the same row."""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        fields = set(validated_data)
        if any(name.startswith("schedule") or name in ("timezone", "enabled") for name in fields):
            instance.reschedule(timezone.now())
            fields.add("next_due_at")
        instance.save(update_fields=sorted(fields))
        return instance


class TrySerializer(serializers.ModelSerializer[Try]):
    class Meta:
        model = Try
        fields = ["began_at", "ended_at", "reason"]
        read_only_fields = fields


class RunSerializer(serializers.ModelSerializer[Run]):
    sync_name = serializers.CharField(source="sync.__str__", read_only=True, help_text="cohort:destination")
    is_open = serializers.SerializerMethodField(
        help_text="Poll while this is true; then `state` is succeeded, partial, failed or cancelled."
    )
    planned = serializers.SerializerMethodField(help_text="Users to add and remove; null until it is known.")
    processing = serializers.SerializerMethodField(
        help_text="Batches that the partner has accepted, and works on; 0 of a run that has ended."
    )
    failed_tries = TrySerializer(
        source="tries", many=True, read_only=True, help_text="When it failed before it was taken up again."
    )

    class Meta:
        model = Run
        fields = [
            "id",
            "sync",
            "sync_name",
            "mode",
            "trigger",
            "triggered_by",
            "state",
            "is_open",
            "reason",
            "note",
            "from_version",
            "to_version",
            "repeat_from",
            "planned",
            "added",
            "removed",
            "rejected",
            "undelivered",
            "requests",
            "retries",
            "processing",
            "trouble",
            "cohort_error",
            "failed_tries",
            "cancel_requested",
            "cancelled_by",
            "approved_by",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_is_open(self, run: Run) -> bool:
        return run.state in OPEN_RUNS

    def get_processing(self, run: Run) -> int:
        if run.state not in OPEN_RUNS:
            return 0
        return run.batches.filter(state=BatchState.PROCESSING).count()

    def get_planned(self, run: Run) -> int | None:
        return run.planned


class _Closed(serializers.Serializer[Any]):
    """A body in which a misspelled field is an error, not ignored."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        return attrs


class TriggerSerializer(_Closed):
    mode = serializers.ChoiceField(
        [(mode.value, mode.label) for mode in ASKED_MODES],
        default=RunMode.CHANGES,
        help_text="changes: users who moved; full: everybody again; empty: remove everybody, and "
        "pause the sync.",
    )


class DryRunSerializer(TriggerSerializer):
    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)


class GoBackSerializer(_Closed):
    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)
    as_of = AwareDateTimeField(
        required=False, help_text="The version that was the latest at this time; with its offset."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if len(attrs) != 1:
            raise serializers.ValidationError("Send either version or as_of.", code="required")
        return attrs


class PreviewSerializer(serializers.Serializer[Any]):
    """See preview.Preview."""

    sync = serializers.CharField()
    mode = serializers.ChoiceField(RunMode.choices)
    from_version = serializers.IntegerField()
    to_version = serializers.IntegerField()
    adds = serializers.IntegerField(help_text="Users who would be added.")
    removes = serializers.IntegerField(help_text="Users who would be removed.")
    retries = serializers.IntegerField(help_text="Rejected users whose turn it is.")
    held_back = serializers.IntegerField(help_text="Users of the cohort who are suppressed: not sent.")
    sample_adds = serializers.ListField(child=serializers.CharField())
    sample_removes = serializers.ListField(child=serializers.CharField())
    external_name = serializers.CharField()
    creates_list = serializers.BooleanField()
    first_request = serializers.CharField(help_text="As it would be sent, the credential masked.")
    whole_list = serializers.IntegerField(
        allow_null=True,
        help_text="Users of the list, where the partner only knows whole lists; null for any other.",
    )
    whole_list_requests = serializers.IntegerField(
        allow_null=True, help_text="In how many requests that list is sent; null for any other."
    )


class RejectionSerializer(serializers.ModelSerializer[Rejection]):
    userId = serializers.CharField(source="user_id", read_only=True)

    class Meta:
        model = Rejection
        fields = [
            "id",
            "userId",
            "kind",
            "state",
            "wanted",
            "code",
            "message",
            "tries",
            "run",
            "first_at",
            "last_at",
        ]
        read_only_fields = fields


class ChosenSerializer(_Closed):
    userIds = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False, max_length=1024),
        required=False,
        allow_empty=False,
        max_length=1000,
        help_text="Rejected users, at most 1,000.",
    )
    all = serializers.BooleanField(required=False, help_text="true: every rejected user of the sync.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if bool(attrs.get("all")) == ("userIds" in attrs):
            raise serializers.ValidationError("Send either userIds or all: true.", code="required")
        return attrs


class ChangedSerializer(serializers.Serializer[Any]):
    users = serializers.IntegerField(help_text="How many rejected users this changed.")


class RepairSerializer(_Closed):
    remove_strangers = serializers.BooleanField(
        default=False, help_text="Remove who is at the partner and should not be, too."
    )


class CompareSerializer(RepairSerializer):
    repair = serializers.BooleanField(
        default=False, help_text="Add who is missing without another question, unless a guard asks it."
    )


class ComparisonSerializer(serializers.ModelSerializer[Comparison]):
    samples = serializers.SerializerMethodField(help_text="The first users of each kind.")

    class Meta:
        model = Comparison
        fields = [
            *("id", "state", "trigger", "asked_by", "version", "by_digest"),
            *("expected", "there", "missing", "strangers", "unknown", "odd", "error", "samples"),
            *("created_at", "began_at", "finished_at"),
        ]
        read_only_fields = fields

    def get_samples(self, comparison: Comparison) -> dict[str, list[str]]:
        return reporting.samples_of(comparison)


class DifferenceSerializer(serializers.ModelSerializer[Difference]):
    userId = serializers.CharField(source="user_id", read_only=True)

    class Meta:
        model = Difference
        fields = ["userId", "kind"]
        read_only_fields = fields


class HeldQuerySerializer(_Closed):
    at = AwareDateTimeField()
    after = serializers.CharField(default="", allow_blank=True, trim_whitespace=False, max_length=1024)
    limit = serializers.IntegerField(default=held.PAGE, min_value=1, max_value=held.LARGEST_PAGE)


class HeldUserSerializer(serializers.Serializer[held.Row]):
    userId = serializers.CharField(source="user_id")
    since = serializers.DateTimeField(allow_null=True)
    run = serializers.IntegerField(allow_null=True)
    batch = serializers.IntegerField(allow_null=True, help_text="Its number within the run.")


class HeldSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField(help_text="Of the cohort; 0: nobody.")
    size = serializers.IntegerField()
    certain = serializers.BooleanField()
    users = HeldUserSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="Pass it as `after`; null on the last page.")
