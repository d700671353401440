"""Destinations over REST: /api/v1/destinations."""

from typing import Any

from django.db.models import ProtectedError
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from destinations.endpoint import Kind
from destinations.models import Destination
from destinations.serializers import DestinationSerializer, PauseSerializer

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
    action_permissions = {"pause": MAY_PAUSE, "resume": MAY_PAUSE}
    filters = {
        "kind": ("kind", serializers.ChoiceField([kind.value for kind in Kind])),
        "name": ("name", serializers.SlugField(max_length=50)),
    }

    def perform_destroy(self, instance: Destination) -> None:
        try:
            instance.delete()
        except ProtectedError:
            raise InUse(f"{instance} is used by a sync, perhaps an archived one.") from None

    @extend_schema(summary="Pause a destination", request=PauseSerializer, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, **names: Any) -> Response:
        """Send nothing until somebody resumes it. Pausing a paused one keeps the first reason."""
        destination = self.get_object()
        body = PauseSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        Destination.objects.pause(destination.pk, f"{body.validated_data['reason']} ({request.user})")
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(summary="Resume a destination", request=None, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **names: Any) -> Response:
        """Let a paused destination send again."""
        Destination.objects.resume(self.get_object().pk)
        return Response(self.get_serializer(self.get_object()).data)
