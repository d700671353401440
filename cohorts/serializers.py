"""Cohorts and versions as JSON, for the REST API."""

from typing import Any

from django.db import IntegrityError, transaction
from rest_framework import serializers

from cohorts.models import Cohort, CohortVersion


class CohortSerializer(serializers.ModelSerializer[Cohort]):
    class Meta:
        model = Cohort
        fields = [
            "key",
            "name",
            "description",
            "source_kind",
            "hold_if_emptied",
            "guard_percent",
            "guard_users",
            "version",
            "size",
            "published_at",
            "held_number",
            "created_at",
        ]
        read_only_fields = ["version", "size", "published_at", "held_number", "created_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what would be ignored: a misspelled limit would guard nothing."""
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        if self.instance and attrs.get("key", self.instance.key) != self.instance.key:
            raise serializers.ValidationError({"key": "The key cannot be changed."}, code="unchangeable")
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Cohort:
        try:
            with transaction.atomic():
                return super().create(validated_data)
        except IntegrityError:  # two at once with one key
            raise serializers.ValidationError(
                {"key": "A cohort with this key already exists."}, code="unique"
            ) from None


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
            "reason",
            "decided_by",
        ]
        read_only_fields = fields


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
