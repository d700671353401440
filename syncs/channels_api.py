"""Alert channels over REST: /api/v1/alert-channels."""

from typing import Any

from django.core.exceptions import ValidationError as ModelError
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from syncs.alert_models import GIVE_AGAIN, AlertChannel
from syncs.alerts import sending
from syncs.choices import ChannelKind


class ChannelSerializer(serializers.ModelSerializer[AlertChannel]):
    credential = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=10_000,
        help_text="A webhook's address, a key or a shared secret, by the kind. Encrypted, never returned.",
    )
    credential_set = serializers.SerializerMethodField(help_text="Whether a credential is stored.")

    class Meta:
        model = AlertChannel
        fields = [*AlertChannel.CONFIG_FIELDS, "credential", "credential_set", "last_sent_at", "last_error"]
        read_only_fields = ["last_sent_at", "last_error"]

    def get_credential_set(self, channel: AlertChannel) -> bool:
        return bool(channel.credential)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0]: "There is no such field."}, code="unknown_field")
        before = self.instance
        columns = AlertChannel._meta.concrete_fields if before else ()
        made = AlertChannel(**{field.attname: getattr(before, field.attname) for field in columns})
        for name, value in attrs.items():
            setattr(made, name, value)
        if before and "credential" not in attrs and made.sends_elsewhere(before):
            raise serializers.ValidationError({"credential": GIVE_AGAIN}, code="credential_needed")
        try:
            made.clean()
        except ModelError as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        return attrs

    def update(self, instance: AlertChannel, validated_data: dict[str, Any]) -> AlertChannel:
        """Save what was given, and no more: the worker writes the same row."""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


class TestedSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    problem = serializers.CharField(help_text="What went wrong; empty if the message was taken.")


class ChannelViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[AlertChannel],
):
    queryset = AlertChannel.objects.order_by("name")
    serializer_class = ChannelSerializer
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    lookup_field = "name"
    lookup_value_regex = "[-a-zA-Z0-9_]+"
    action_permissions = {"test": "syncs.change_alertchannel"}
    filters = {"kind": ("kind", serializers.ChoiceField(ChannelKind.choices))}

    @extend_schema(summary="Send a test", request=None, responses=TestedSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, **names: Any) -> Response:
        """Send a message that says it is a test."""
        problem = sending.test(self.get_object())
        return Response({"ok": not problem, "problem": problem})
