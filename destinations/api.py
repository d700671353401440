"""Destinations over REST: /api/v1/destinations."""

from typing import Any

from django.db.models import ProtectedError
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from destinations import try_out
from destinations.endpoint import Kind
from destinations.models import Destination
from destinations.payloads import Operation
from destinations.secrets import SecretUnreadable
from destinations.serializers import (
    DestinationSerializer,
    OutcomeSerializer,
    PauseSerializer,
    ShownSerializer,
    SideBySideSerializer,
)
from destinations.side_by_side import side_by_side

MAY_CHANGE = "destinations.change_destination"
MAY_PAUSE = "destinations.pause_destination"
NEW = OpenApiExample(
    "A partner that keeps lists",
    request_only=True,
    value={
        "name": "acme",
        "preset": "amplitude-list",
        "base_url": "https://partner.example/api",
        "credential": "the key that the partner issued",
    },
)
MOVE = OpenApiExample(
    "Another address",
    request_only=True,
    value={"base_url": "https://partner.example/v2", "confirm_move": True},
)


class InUse(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "in_use"


@extend_schema_view(
    list=extend_schema(summary="List destinations"),
    retrieve=extend_schema(summary="Read a destination"),
    create=extend_schema(
        summary="Make a destination",
        description="What is not sent has the value of the preset.",
        examples=[NEW],
    ),
    partial_update=extend_schema(summary="Change a destination", examples=[MOVE]),
    destroy=extend_schema(summary="Delete a destination", description="409 while a sync uses it."),
)
class DestinationViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Destination],
):
    queryset = Destination.objects.order_by("name")
    serializer_class = DestinationSerializer
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    lookup_field = "name"
    lookup_value_regex = "[-a-zA-Z0-9_]+"
    action_permissions = {
        "pause": MAY_PAUSE,
        "resume": MAY_PAUSE,
        "preview": MAY_CHANGE,
        "preview_new": "destinations.add_destination",
        "test": MAY_CHANGE,
    }
    filters = {
        "kind": ("kind", serializers.ChoiceField([kind.value for kind in Kind])),
        "name": ("name", serializers.SlugField(max_length=50)),
    }

    def perform_destroy(self, instance: Destination) -> None:
        try:
            instance.delete()
        except ProtectedError:
            raise InUse(f"{instance} is used by a sync, perhaps an archived one.") from None

    @extend_schema(
        operation_id="destinations_preview_new",
        summary="Show what a new destination would send",
        request=SideBySideSerializer,
        responses=ShownSerializer(many=True),
    )
    @action(detail=False, methods=["post"], url_path="preview", url_name="preview")
    def preview_new(self, request: Request, **names: Any) -> Response:
        """Input, templates and request of each operation for one user. Nothing is saved or sent."""
        return self._preview(request, None)

    @extend_schema(
        summary="Show what a destination sends",
        request=SideBySideSerializer,
        responses=ShownSerializer(many=True),
    )
    @action(detail=True, methods=["post"])
    def preview(self, request: Request, **names: Any) -> Response:
        """The same of a saved destination, with the changes that `destination` names."""
        return self._preview(request, self.get_object())

    def _preview(self, request: Request, instance: Destination | None) -> Response:
        body = SideBySideSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        about = dict(body.validated_data)
        changes = about.pop("destination", {})
        made = DestinationSerializer(instance, data=changes, partial=instance is not None)
        made.is_valid(raise_exception=True)
        shown = side_by_side(made.unsaved().endpoint_without_secrets(), **about)
        return Response(ShownSerializer(shown, many=True).data)

    @extend_schema(summary="Make the test call", request=None, responses=OutcomeSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, **names: Any) -> Response:
        """Send the destination's test call, once. It changes nothing at the partner."""
        destination = self.get_object()
        if not destination.test_path:
            raise serializers.ValidationError({"test_path": "This destination has no test call."})
        try:
            endpoint = destination.endpoint()
            made = try_out.make_request(endpoint, Operation.TEST, "", "")
        except (SecretUnreadable, ValueError) as error:
            raise serializers.ValidationError({"destination": str(error)}) from None
        outcome = try_out.send(endpoint, made)
        said = {
            "ok": outcome.is_reached(made),
            "proves": destination.test_proves if outcome.error is None else "",
            "status": outcome.reply.status if outcome.reply else None,
            "reply": outcome.reply.excerpt if outcome.reply else "",
            "problem": outcome.error.message if outcome.error else "",
            "advice": outcome.advice,
        }
        return Response(OutcomeSerializer(said).data)

    @extend_schema(summary="Pause a destination", request=PauseSerializer, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, **names: Any) -> Response:
        """Send nothing until a time, or until somebody resumes it. A paused one keeps its first reason."""
        destination = self.get_object()
        body = PauseSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reason = f"{body.validated_data['reason']} ({request.user})"
        Destination.objects.pause(destination.pk, reason, body.validated_data.get("until"))
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(summary="Resume a destination", request=None, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **names: Any) -> Response:
        """Let a paused destination send again."""
        Destination.objects.resume(self.get_object().pk)
        return Response(self.get_serializer(self.get_object()).data)
