"""The REST API of files of profiles: sent, imported by the worker, and asked for."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from events.tables.understood import ENCODINGS, KINDS, SEPARATOR_NAMES
from people.column_forms import ProfileUploadForm
from people.models import ProfileImport

# What the form calls otherwise, or asks for by other words.
NAMES = {"mapped": "map", "kind": "format"}
HEADING = {True: "yes", False: "no", None: ""}


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "not_now"


class ProfileUploadSerializer(serializers.ModelSerializer[ProfileImport]):
    """`error` says why it failed, with the first lines that are wrong; then nothing was kept.

    `columns`: each field, its type and its column.
    """

    class Meta:
        model = ProfileImport
        fields = [
            *("id", "workspace", "source", "columns", "skip_invalid", "state", "percent", "error"),
            *("users", "changed", "hashed", "skipped", "skipped_first"),
            *("created_by", "created_at", "finished_at"),
        ]
        read_only_fields = fields


class NewProfileUploadSerializer(serializers.Serializer[Any]):
    """A file of profiles, and which of its columns are which fields."""

    file = serializers.FileField(help_text="CSV, JSON lines, .xlsx or Parquet, plain or packed.")
    workspace = serializers.CharField(max_length=50)
    map = serializers.ListField(
        child=serializers.CharField(max_length=600, trim_whitespace=False),
        allow_empty=False,
        max_length=100,
        help_text="email=E-Mail, or consent:boolean=May we write? with its type; once for each column.",
    )
    column = serializers.CharField(
        default="", max_length=200, trim_whitespace=False, help_text="Of the user ids: a heading or a number."
    )
    heading = serializers.BooleanField(
        default=None, allow_null=True, help_text="Whether the first line of a CSV is a heading."
    )
    separator = serializers.ChoiceField(default="", choices=["", *SEPARATOR_NAMES])
    encoding = serializers.ChoiceField(default="", choices=["", *ENCODINGS])
    format = serializers.ChoiceField(default="", choices=["", *KINDS])
    skip_invalid = serializers.BooleanField(default=False, help_text="Pass over values that are none.")


class ProfileUploadViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[ProfileImport]
):
    """Files of profiles, as in the browser. Files that commands brought are listed, too."""

    queryset = ProfileImport.objects.order_by("-pk")
    serializer_class = ProfileUploadSerializer
    action_permissions: ClassVar[dict[str, str]] = dict.fromkeys(
        ("create", "again"), "people.add_profileimport"
    )
    parser_classes = [MultiPartParser]
    filters = {"workspace": ("workspace", serializers.SlugField(help_text="Files of this workspace."))}

    @extend_schema(
        summary="Send a file of profiles",
        request={"multipart/form-data": NewProfileUploadSerializer},
        responses={202: ProfileUploadSerializer},
    )
    def create(self, request: Request) -> Response:
        """It is stored, and the worker imports it: `state` and `percent` say how far it is. It is read to its
        end before anything is kept."""
        asked = NewProfileUploadSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        form = ProfileUploadForm(_as_in_the_form(asked.validated_data), request.FILES)
        if not form.is_valid():
            raise exceptions.ValidationError(
                {NAMES.get(name, name): list(map(str, errors)) for name, errors in form.errors.items()}
            )
        try:
            stored = form.keep(str(request.user.get_username()))
        except OSError as error:
            raise Conflict(f"The file could not be stored: {error}") from None
        return Response(ProfileUploadSerializer(stored).data, status.HTTP_202_ACCEPTED)

    @extend_schema(summary="Import a file again that failed", request=None, responses=ProfileUploadSerializer)
    @action(detail=True, methods=["post"])
    def again(self, request: Request, **names: Any) -> Response:
        """With the stored file, when it was not to blame: another process was in the way, a disk was full."""
        one = self.get_object()
        if not ProfileImport.objects.try_again(one.pk):
            raise Conflict("It did not fail, its file is gone, or somebody is trying it again already.")
        one.refresh_from_db()
        return Response(ProfileUploadSerializer(one).data)


def _as_in_the_form(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "workspace": asked["workspace"],
        "mapped": "\n".join(asked["map"]),
        "column": asked["column"],
        "heading": HEADING[asked["heading"]],
        "separator": SEPARATOR_NAMES.get(asked["separator"], ""),
        "encoding": asked["encoding"],
        "kind": asked["format"],
        "skip_invalid": asked["skip_invalid"],
    }
