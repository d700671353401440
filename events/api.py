"""The REST API of events: imports and their undoing, corrections."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from events import uploads
from events.correct import NothingToCorrect, Wanted, delete_events, delete_people, undo_import
from events.engine import EngineError
from events.forms import EventUploadForm
from events.inserting import all_workspaces
from events.merges import UnknownDevice, decide, find_devices
from events.models import Correction, EventUpload, ImportedFile
from events.records import InvalidRecord
from events.store import DEFAULT_WORKSPACE
from events.workspace_folders import Refused

MOST_PEOPLE = 10_000
MOST_DEVICES = 1_000
Done = TypeVar("Done")


class Conflict(exceptions.APIException):
    """Nothing was changed: a file is set aside, or the folder is another site's."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_now"


class ImportedFileSerializer(serializers.ModelSerializer[ImportedFile]):
    class Meta:
        model = ImportedFile
        fields = [
            "key", "workspace", "name", "source", "rows", "bad_lines", "imported_at", "by", "undone_at",
        ]  # fmt: skip


class CorrectionSerializer(serializers.ModelSerializer[Correction]):
    class Meta:
        model = Correction
        fields = ["workspace", "what", "events", "traits", "by", "at"]


class DeletionSerializer(serializers.Serializer[Any]):
    """Events of which everything named holds; or `erase`, all that is known of some users."""

    workspace = serializers.SlugField(default=DEFAULT_WORKSPACE, max_length=50)
    event = serializers.CharField(required=False, max_length=255, trim_whitespace=False)
    user_id = serializers.CharField(required=False, max_length=1024, trim_whitespace=False)
    insert_id = serializers.CharField(required=False, max_length=255, trim_whitespace=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    import_key = serializers.CharField(required=False, max_length=32)
    erase = serializers.ListField(
        child=serializers.CharField(max_length=1024, trim_whitespace=False),
        required=False,
        allow_empty=False,
        max_length=MOST_PEOPLE,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        others = attrs.keys() - {"workspace", "erase"}
        if bool(others) == ("erase" in attrs):
            raise serializers.ValidationError("Name what to delete, or whom to erase; not both.")
        return attrs


class CorrectedSerializer(serializers.Serializer[Any]):
    what = serializers.CharField()
    events = serializers.IntegerField()
    traits = serializers.IntegerField()


class DeviceSerializer(serializers.Serializer[Any]):
    device = serializers.CharField()
    user_id = serializers.CharField(allow_null=True, help_text="Null: nobody's.")
    since = serializers.DateTimeField()
    decided = serializers.BooleanField(help_text="By a person of this site, not by what came in.")


class DecisionSerializer(serializers.Serializer[Any]):
    """Whose a device is from now on, whatever is said: a user's, or with null nobody's."""

    workspace = serializers.SlugField(default=DEFAULT_WORKSPACE, max_length=50)
    device = serializers.CharField(max_length=1023, trim_whitespace=False)
    user_id = serializers.CharField(max_length=1024, trim_whitespace=False, allow_null=True)


class DeviceQuerySerializer(serializers.Serializer[Any]):
    workspace = serializers.SlugField(default=DEFAULT_WORKSPACE, max_length=50)
    device = serializers.CharField(required=False, max_length=1023, trim_whitespace=False)
    user_id = serializers.CharField(required=False, max_length=1024, trim_whitespace=False)


class EventUploadSerializer(serializers.ModelSerializer[EventUpload]):
    """`look` is what was understood: what comes in when the upload is imported, bad lines, columns."""

    class Meta:
        model = EventUpload
        fields = [
            "id", "workspace", "name", "source", "mapped", "replaces_repeats", "replaces_import", "state",
            "percent", "look", "said", "import_key", "by", "created_at",
        ]  # fmt: skip


class NewUploadSerializer(serializers.Serializer[Any]):
    """A file of events, and what its columns are where that is not plain."""

    file = serializers.FileField(allow_empty_file=True)
    workspace = serializers.SlugField(default=DEFAULT_WORKSPACE, max_length=50)
    source = serializers.CharField(default="", max_length=100)  # type: ignore[assignment]  # a field's name
    replaces_repeats = serializers.BooleanField(
        default=False, help_text="Take the place of events with the same users and insert ids."
    )
    replaces_import = serializers.CharField(
        default="", max_length=32, allow_blank=True, help_text="The key of an import: what it brought goes."
    )
    traits = serializers.BooleanField(default=False, help_text="It holds users' properties, no events.")
    user_id = serializers.CharField(default="", max_length=255, help_text="The column of the user id.")
    event = serializers.CharField(default="", max_length=255, help_text="The column of the event's name.")
    event_name = serializers.CharField(default="", max_length=255, help_text="Every line is this event.")
    time = serializers.CharField(default="", max_length=255, help_text="The column of the time.")


class EventUploadViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[EventUpload],
):
    """Files of events, as in the browser: sent, looked at, and imported by the worker when that is confirmed.
    Whoever may send a file may discard it."""

    queryset = EventUpload.objects.order_by("-pk")
    serializer_class = EventUploadSerializer
    action_permissions: ClassVar[dict[str, str]] = dict.fromkeys(
        ("create", "bring", "destroy"), "events.add_eventupload"
    )
    parser_classes = [MultiPartParser]
    filters = {"workspace": ("workspace", serializers.SlugField(help_text="Uploads into this workspace."))}

    @extend_schema(
        summary="Send a file of events",
        request={"multipart/form-data": NewUploadSerializer},
        responses={201: EventUploadSerializer},
    )
    def create(self, request: Request) -> Response:
        """It is looked at: at once if it is small, otherwise by the worker. Nothing is imported before
        that is confirmed. To replace an import takes the permission to undo it."""
        said = {"workspace": DEFAULT_WORKSPACE, **request.POST.dict()}
        may_replace = request.user.has_perm("events.delete_importedfile")
        if said.get("replaces_import") and not may_replace:
            raise exceptions.PermissionDenied("Who may not undo an import replaces none.")
        form = EventUploadForm(said, request.FILES, may_replace=may_replace)
        if not form.is_valid():
            raise exceptions.ValidationError({name: list(map(str, e)) for name, e in form.errors.items()})
        upload = _done(lambda: form.keep(_who(request)))
        return Response(EventUploadSerializer(upload).data, status.HTTP_201_CREATED)

    @extend_schema(summary="Import an upload", request=None, responses={202: EventUploadSerializer})
    @action(detail=True, methods=["post"], url_path="import")
    def bring(self, request: Request, **names: Any) -> Response:
        """The worker imports it; `state` and `percent` say how far it is."""
        upload = self.get_object()
        if not uploads.confirm(upload):
            raise Conflict("It does not wait to be imported.")
        upload.refresh_from_db()
        return Response(EventUploadSerializer(upload).data, status.HTTP_202_ACCEPTED)

    @extend_schema(summary="Discard an upload that was not imported", responses={204: None})
    def destroy(self, request: Request, *arguments: Any, **names: Any) -> Response:
        if not uploads.discard(self.get_object()):
            raise Conflict("It does not wait to be imported.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class ImportViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[ImportedFile],
):
    queryset = ImportedFile.objects.exclude(key=None).order_by("-imported_at", "-id")
    serializer_class = ImportedFileSerializer
    lookup_field = "key"
    lookup_value_regex = "[0-9a-f]{1,32}"
    filters = {"workspace": ("workspace", serializers.SlugField(help_text="Imports into this workspace."))}

    @extend_schema(summary="Undo an import", responses={204: None})
    def destroy(self, request: Request, *arguments: Any, **names: Any) -> Response:
        """Its events and users' properties go, wherever merges have put them; its row stays."""
        imported = self.get_object()
        _done(lambda: undo_import(imported.workspace, str(imported.key), _who(request)))
        return Response(status=status.HTTP_204_NO_CONTENT)


class CorrectionViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Correction]):
    queryset = Correction.objects.order_by("-at", "-id")
    serializer_class = CorrectionSerializer
    filters = {"workspace": ("workspace", serializers.SlugField(help_text="Corrections of this workspace."))}

    @extend_schema(
        summary="Delete events, or erase people",
        request=DeletionSerializer,
        responses={201: CorrectedSerializer},
    )
    def create(self, request: Request) -> Response:
        """All of what is named must hold of an event. Answers when it is done."""
        said = DeletionSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        wanted = dict(said.validated_data)
        workspace, people = wanted.pop("workspace"), wanted.pop("erase", None)
        _workspace(workspace)
        if people:
            done = _done(lambda: delete_people(workspace, people, _who(request)))
        else:
            done = _done(lambda: delete_events(workspace, _who(request), Wanted(**wanted)))
        return Response(CorrectedSerializer(done).data, status.HTTP_201_CREATED)


class DeviceViewSet(viewsets.GenericViewSet[Correction]):
    """Its permissions are those of corrections, which a decision is."""

    queryset = Correction.objects.none()
    serializer_class = DeviceSerializer
    pagination_class = None

    @extend_schema(
        summary="Whose devices are",
        parameters=[DeviceQuerySerializer],
        responses=DeviceSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """Those of a user, or one device, or the first thousand of which anything was said."""
        said = DeviceQuerySerializer(data=request.query_params)
        said.is_valid(raise_exception=True)
        asked = said.validated_data
        workspace = _workspace(asked["workspace"])
        user_ids = [asked["user_id"]] if "user_id" in asked else []
        found = _done(
            lambda: find_devices(workspace, user_ids=user_ids, device=asked.get("device"), limit=MOST_DEVICES)
        )
        return Response([one.as_json() for one in found])

    @extend_schema(
        summary="Make a device a user's, or nobody's",
        request=DecisionSerializer,
        responses={201: DeviceSerializer},
    )
    def create(self, request: Request) -> Response:
        said = DecisionSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        wanted = said.validated_data
        workspace, user_id = _workspace(wanted["workspace"]), wanted["user_id"] or ""
        done = _done(lambda: decide(workspace, wanted["device"], user_id, _who(request)))
        return Response(done.as_json(), status.HTTP_201_CREATED)


def _workspace(name: str) -> str:
    if name not in _done(all_workspaces):
        raise exceptions.NotFound(f"There are no events of a workspace {name!r}.")
    return name


def _who(request: Request) -> str:
    return str(request.user.get_username())


def _done(correct: Callable[[], Done]) -> Done:
    try:
        return correct()
    except (NothingToCorrect, UnknownDevice) as error:
        raise exceptions.NotFound(str(error)) from None
    except InvalidRecord as error:
        raise exceptions.ValidationError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    except (EngineError, Refused, OSError) as error:
        raise Conflict(str(error)) from None
