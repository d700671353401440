"""Cohorts and versions as JSON, for the REST API."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework import exceptions, serializers

from cohorts.choices import CalculationState
from cohorts.models import Cohort, CohortVersion
from cohorts.sources import KEEP_PROFILES, USE_QUERY, sets_fields, sets_query
from cohorts.tags import TAG
from pagekit import approval


class CohortSerializer(serializers.ModelSerializer[Cohort]):
    class Meta:
        model = Cohort
        fields = [
            *Cohort.CONFIG_FIELDS,
            "version",
            "size",
            "held_back",
            "published_at",
            "held_number",
            "next_due_at",
            "calculation_error",
            "calculation_failed_at",
            "created_at",
        ]
        read_only_fields = [
            *("version", "size", "held_back", "published_at", "held_number", "next_due_at"),
            *("calculation_error", "calculation_failed_at", "created_at"),
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what would be ignored: a misspelled limit would guard nothing."""
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        if self.instance and attrs.get("key", self.instance.key) != self.instance.key:
            raise serializers.ValidationError({"key": "The key cannot be changed."}, code="unchangeable")
        self._check_right(attrs)
        self._check_source(attrs)
        return attrs

    def _check_right(self, attrs: dict[str, Any]) -> None:
        """A query reads whatever its connection may: to set or change one is a right of its own."""
        if sets_fields(attrs, self.instance) and not self.context["request"].user.has_perm(KEEP_PROFILES):
            raise exceptions.PermissionDenied("You may not bring profiles.")
        if not sets_query(attrs, self.instance):
            return
        if not self.context["request"].user.has_perm(USE_QUERY):
            raise exceptions.PermissionDenied("You may not set or change a query: ask for the right to.")

    def _check_source(self, attrs: dict[str, Any]) -> None:
        try:
            self._changed(Cohort(), attrs).clean()
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict, code="invalid") from None

    def _changed(self, row: Cohort, attrs: dict[str, Any]) -> Cohort:
        """Return a cohort as it would be with the attributes."""
        for column in Cohort._meta.concrete_fields if self.instance else []:
            setattr(row, column.attname, getattr(self.instance, column.attname))
        for name, value in attrs.items():
            setattr(row, name, value)
        return row

    def update(self, instance: Cohort, validated_data: dict[str, Any]) -> Cohort:
        """Save what was given, and no more: a refresh writes the same row."""
        self._changed(instance, validated_data)
        approval.check(instance, self.context["request"].user)
        fields = list(validated_data)
        if set(fields) & set(Cohort.DUE_FIELDS):
            instance.reschedule(timezone.now())
            fields.append("next_due_at")
        instance.save(update_fields=fields)
        return instance

    def create(self, validated_data: dict[str, Any]) -> Cohort:
        due = self._changed(Cohort(), validated_data)
        approval.check(due, self.context["request"].user)
        due.reschedule(timezone.now())
        validated_data = {**validated_data, "next_due_at": due.next_due_at}
        try:
            with transaction.atomic():
                return super().create(validated_data)
        except IntegrityError:  # two at once with one key
            raise serializers.ValidationError(
                {"key": "A cohort with this key already exists."}, code="unique"
            ) from None


class TagText(serializers.CharField):
    """A tag to look for, as it stands in the JSON of those that have it."""

    def to_internal_value(self, data: Any) -> str:
        tag = super().to_internal_value(data)
        if not TAG.fullmatch(tag):
            raise serializers.ValidationError("This is no tag: small letters, digits, “.”, “_” and “-”.")
        return json.dumps(tag)


class VersionSerializer(serializers.ModelSerializer[CohortVersion]):
    cohort = serializers.SlugRelatedField[Cohort](slug_field="key", read_only=True)

    class Meta:
        model = CohortVersion
        fields = [
            "cohort",
            "number",
            "state",
            "source",
            "started_at",
            "finished_at",
            "size",
            "entered",
            "left",
            "held_back",
            "reason",
            "decided_by",
        ]
        read_only_fields = fields


class SuspiciousSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    words = serializers.CharField(help_text="What is odd about these ids.")
    count = serializers.IntegerField()
    samples = serializers.ListField(child=serializers.CharField(), help_text="Up to three of them.")


class KeptOfPeopleSerializer(serializers.Serializer[Any]):
    users = serializers.IntegerField(help_text="Rows that say something of a user.")
    values = serializers.DictField(child=serializers.IntegerField(), help_text="By field.")
    hashed = serializers.DictField(child=serializers.IntegerField(), help_text="Taken as hashes, by field.")
    skipped = serializers.IntegerField(help_text="Values that were passed over.")
    skipped_first = serializers.ListField(child=serializers.CharField())
    changed = serializers.IntegerField(help_text="Values that are other than before.")


class ReplacedSerializer(VersionSerializer):
    suspicious = SuspiciousSerializer(many=True, read_only=True)
    profiles = KeptOfPeopleSerializer(
        read_only=True, required=False, help_text="Of further columns, with `map`."
    )

    class Meta(VersionSerializer.Meta):
        fields = [*VersionSerializer.Meta.fields, "suspicious", "profiles"]
        read_only_fields = fields


class CalculationSerializer(serializers.Serializer[Any]):
    cohort = serializers.CharField()
    asked_at = serializers.DateTimeField(help_text="Names the calculation: send it back to ask for it.")
    state = serializers.ChoiceField(CalculationState.choices)
    is_open = serializers.BooleanField(help_text="Whether it is still waiting or being calculated.")
    version = VersionSerializer(allow_null=True)
    error = serializers.CharField(help_text="Why it failed; empty otherwise.", allow_blank=True)


class MembersPageSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    size = serializers.IntegerField()
    userIds = serializers.ListField(child=serializers.CharField())
    next = serializers.CharField(
        allow_null=True, help_text="Pass it as `after` for the next page; null on the last."
    )


class ReplaceSerializer(serializers.Serializer[Any]):
    userIds = serializers.ListField(child=serializers.CharField())


class AmendSerializer(serializers.Serializer[Any]):
    add = serializers.ListField(child=serializers.CharField(), required=False)
    remove = serializers.ListField(child=serializers.CharField(), required=False)
