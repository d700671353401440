"""The REST API of profiles: what is known of people."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from events.user_ids import InvalidUserId, check_user_id
from people import profiles
from people.models import ProfileImport
from people.profiles import InvalidValue, Said, check_name, read_value

MOST = 2_000
MOST_FIELDS = 200


class ProfileSerializer(serializers.Serializer[Any]):
    """One user, and values by field: a text, a number, true, false, a list of them; null unsets it."""

    user_id = serializers.JSONField(help_text="A text, or an integer as its digits.")
    values = serializers.DictField(child=serializers.JSONField(allow_null=True), allow_empty=False)
    time = serializers.DateTimeField(
        required=False, help_text="When it became so. Default, and at most: now."
    )


class ProfilesSerializer(serializers.Serializer[Any]):
    workspace = serializers.CharField(max_length=50)
    profiles = serializers.ListField(
        child=serializers.DictField(), allow_empty=False, max_length=MOST, help_text="See Profile."
    )


class KeptSerializer(serializers.Serializer[Any]):
    changed = serializers.IntegerField(help_text="Values that are other than before.")
    hashed = serializers.IntegerField(help_text="Addresses and numbers that were taken as hashes.")


class KnownSerializer(serializers.Serializer[Any]):
    user_id = serializers.CharField()
    workspace = serializers.CharField()
    values = serializers.DictField(help_text="By name: the value, and the time since when it is so.")


class ProfileViewSet(viewsets.GenericViewSet[ProfileImport]):
    """What people are known by, in a workspace. The latest word about a field counts, by its time."""

    queryset = ProfileImport.objects.none()  # whose permissions count
    pagination_class = None
    lookup_value_regex = "[^/]{1,3000}"
    action_permissions = {"retrieve": "people.read_person", "create": "people.add_profileimport"}

    @extend_schema(summary="Say what is known", request=ProfilesSerializer, responses={201: KeptSerializer})
    def create(self, request: Request) -> Response:
        """All of it is kept, or nothing. Addresses (`email`) and telephone numbers (`phone`) are checked."""
        asked = ProfilesSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        said, hashed = [], 0
        for index, given in enumerate(asked.validated_data["profiles"]):
            try:
                one = _said(given)
            except InvalidValue as error:
                raise exceptions.ValidationError({"profiles": f"Item {index}: {error}."}) from None
            hashed += sum(profiles.is_hashed(name, value) for name, value in one.fields.items())
            said.append(one)
        try:
            changed = profiles.write(asked.validated_data["workspace"], said)
        except profiles.Refused as error:
            raise exceptions.ValidationError({"workspace": str(error)}) from None
        return Response({"changed": changed, "hashed": hashed}, status.HTTP_201_CREATED)

    @extend_schema(
        summary="What is known of a user",
        parameters=[OpenApiParameter("workspace", str, required=True, description="Whose user.")],
        responses=KnownSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """Each field with its value and since when; 404 if there is none."""
        workspace = request.query_params.get("workspace", "")
        try:
            user_id = check_user_id(pk)
            known = profiles.store().of(workspace, user_id)
        except InvalidUserId as error:
            raise exceptions.ValidationError({"user_id": f"It {error}."}) from None
        except profiles.Refused as error:
            raise exceptions.ValidationError({"workspace": str(error)}) from None
        if not known:
            raise exceptions.NotFound("Nothing is known of this user.")
        fields = {name: {"value": one.value, "time": one.time} for name, one in known.items()}
        return Response({"user_id": user_id, "workspace": workspace, "values": fields})


def _said(given: dict[str, Any]) -> Said:
    """Raises InvalidValue: the message names the field."""
    checked = ProfileSerializer(data=given)
    if not checked.is_valid():
        name, problems = next(iter(checked.errors.items()))
        raise InvalidValue(f"{name}: {problems[0] if isinstance(problems, list) else problems}".rstrip("."))
    if unknown := sorted(given.keys() - {"user_id", "values", "time"}):
        raise InvalidValue(f"{unknown[0][:50]!r} is no field of a profile")
    if len(given["values"]) > MOST_FIELDS:
        raise InvalidValue(f"it has more than {MOST_FIELDS} fields")
    try:
        user_id = check_user_id(given["user_id"])
    except InvalidUserId as error:
        raise InvalidValue(f"the user id {error}") from None
    fields: dict[str, Any] = {}
    for name, value in given["values"].items():
        try:
            fields[check_name(name)] = read_value(name, value)
        except InvalidValue as error:
            raise InvalidValue(f"{name[:50]!r} {error}") from None
    now = timezone.now()
    return Said(user_id, fields, min(checked.validated_data.get("time") or now, now))
