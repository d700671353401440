"""Destinations as JSON, for the REST API. The credential goes in and never comes out."""

import json
from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db import IntegrityError, transaction
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from destinations.models import ANOTHER_HOST, SECRET_NAME, Destination, JsonTextField
from destinations.presets import PRESETS
from destinations.secrets import NamedSecrets, SecretUnreadable
from pagekit import approval

MOVES = "The address, the kind, a path or the account changes. Send confirm_move: true if you want that."


@extend_schema_field({"oneOf": [{"type": "object"}, {"type": "array", "items": {}}, {"type": "string"}]})
class TemplateField(serializers.CharField):
    """A JSON template: taken as JSON or as text, given as the text that people wrote."""

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(json.dumps(data) if isinstance(data, dict | list) else data)


class DestinationSerializer(serializers.ModelSerializer[Destination]):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        JsonTextField: TemplateField,
    }
    credential = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=10_000,
        help_text='The key or secret. Stored encrypted, never returned; "" forgets it.',
    )
    credential_set = serializers.SerializerMethodField(help_text="Whether a credential is stored.")
    secrets = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=10_000),
        write_only=True,
        required=False,
        help_text='Named secrets for $secret_NAME. Stored encrypted, never returned; "" forgets one, and '
        "those that are not sent stay.",
    )
    secrets_set = serializers.SerializerMethodField(help_text="The names of the secrets that are stored.")
    confirm_move = serializers.BooleanField(
        write_only=True,
        required=False,
        help_text="Needed to change where data goes: the destination's syncs then begin anew, with a full "
        "run; what is at the old address stays there.",
    )

    class Meta:
        model = Destination
        fields = [
            *Destination.CONFIG_FIELDS,
            "credential",
            "credential_set",
            "secrets",
            "secrets_set",
            "confirm_move",
            "paused_at",
            "pause_reason",
            "paused_until",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["paused_at", "pause_reason", "paused_until", "created_at", "updated_at"]

    def get_credential_set(self, destination: Destination) -> bool:
        return bool(destination.credential)

    def get_secrets_set(self, destination: Destination) -> list[str]:
        try:
            return destination.named_secrets.names
        except SecretUnreadable:
            return []

    def validate_secrets(self, value: dict[str, str]) -> Any:
        for name in value:
            if not SECRET_NAME.fullmatch(name):
                raise serializers.ValidationError(f"{name[:50]!r} is no name: small letters, digits and _.")
        stored = self.instance.named_secrets if self.instance else NamedSecrets()
        return stored.with_changes(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        confirmed = attrs.pop("confirm_move", False)
        made = self._applied(attrs)
        self._check_host(attrs, made)
        if self.instance and self.instance.fingerprint != made.fingerprint:
            if not confirmed:
                raise serializers.ValidationError({"confirm_move": MOVES}, code="move_not_confirmed")
            attrs["accepted_fingerprint"] = made.fingerprint
        return attrs

    def _check_host(self, attrs: dict[str, Any], made: Destination) -> None:
        if self.instance is None:
            return
        held = {name for name in ("credential", "secrets") if getattr(self.instance, name)}
        for name in made.secrets_for_another_host(self.instance.origins, held, set(attrs)):
            raise serializers.ValidationError({name: ANOTHER_HOST}, code="credential_needed")

    def _applied(self, attrs: dict[str, Any]) -> Destination:
        """Return the destination as it would be, checked whole."""
        if self.instance:
            columns = {field.attname: getattr(self.instance, field.attname) for field in _columns()}
            made = Destination(**columns)
        else:
            made = Destination.from_preset(attrs.get("preset", "custom"))
        for name, value in attrs.items():
            setattr(made, name, value)
        try:
            made.clean()
        except ModelError as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        return made

    def unsaved(self) -> Destination:
        """Return the destination that the data makes, which is checked and not saved."""
        return self._applied(
            {name: value for name, value in self.validated_data.items() if name != "accepted_fingerprint"}
        )

    def create(self, validated_data: dict[str, Any]) -> Destination:
        made = self._applied(validated_data)
        approval.check(made, self.context["request"].user)
        try:
            with transaction.atomic():
                made.save()
        except IntegrityError:  # two at once with one name
            raise serializers.ValidationError(
                {"name": "A destination with this name already exists."}, code="unique"
            ) from None
        return made

    def update(self, instance: Destination, validated_data: dict[str, Any]) -> Destination:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        approval.check(instance, self.context["request"].user)
        instance.save_fields(validated_data)
        return instance

    def get_extra_kwargs(self) -> dict[str, Any]:
        """A preset may know the address: then it need not be sent."""
        kwargs: dict[str, Any] = super().get_extra_kwargs()
        preset = getattr(self, "initial_data", None)
        chosen = preset.get("preset") if isinstance(preset, dict) else None
        if isinstance(chosen, str) and "base_url" in getattr(PRESETS.get(chosen), "fields", {}):
            kwargs["base_url"] = {"required": False}
        return kwargs


def _columns() -> Any:
    return Destination._meta.concrete_fields


class SideBySideSerializer(serializers.Serializer[Any]):
    """Whom to show, and for `/destinations/preview` the destination, as it would be made."""

    destination = serializers.DictField(
        required=False,
        help_text="Fields of a destination, as for making one; of a saved one, those that would change.",
    )
    user_id = serializers.CharField(default="u1", max_length=1024, trim_whitespace=False)
    cohort_name = serializers.CharField(default="Recent buyers", max_length=200)
    cohort_key = serializers.SlugField(default="recent-buyers", max_length=50)
    list_id = serializers.CharField(default="", allow_blank=True, max_length=1024)


class ShownSerializer(serializers.Serializer[Any]):
    """One request: the variables that it uses, the templates, and what would be sent."""

    operation = serializers.CharField()
    title = serializers.CharField()
    inputs = serializers.DictField(child=serializers.CharField())
    templates = serializers.DictField(child=serializers.CharField())
    output = serializers.CharField(help_text="The request with its secrets masked; empty if there is none.")
    problem = serializers.CharField(help_text="Why there is no request.")


class OutcomeSerializer(serializers.Serializer[Any]):
    """What came of a test call."""

    ok = serializers.BooleanField()
    proves = serializers.CharField(help_text="What a success shows.")
    status = serializers.IntegerField(allow_null=True)
    reply = serializers.CharField(help_text="The beginning of the reply's body.")
    problem = serializers.CharField()
    advice = serializers.CharField()


class PauseSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, help_text="Shown wherever the destination is.")
    until = serializers.DateTimeField(
        required=False, help_text="When it goes on by itself. Left out: when somebody resumes it."
    )
