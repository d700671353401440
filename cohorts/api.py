"""Cohorts and their members over REST: /api/v1/cohorts and /api/v1/cohorts/KEY/members."""

import io
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import IO, Any

from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from cohorts import asked, importing, members, refresh, remove
from cohorts.choices import SourceKind, VersionState
from cohorts.models import Cohort, CohortVersion
from cohorts.serializers import (
    AmendSerializer,
    CalculationSerializer,
    CohortSerializer,
    MembersPageSerializer,
    ReplacedSerializer,
    ReplaceSerializer,
    TagText,
    VersionSerializer,
)
from cohorts.sorting import sorted_distinct
from events import file_of_ids
from events.tables import Hints, InvalidTable, Suspicions, Unsure
from events.tables.understood import ENCODINGS, SEPARATOR_NAMES
from events.user_ids import InvalidUserId, check_user_id
from people import profiles
from people.profile_files import Fields, mapped_lines
from people.profiles import InvalidValue

MAY_CALCULATE = "cohorts.change_cohortversion"
EXAMPLE_CALCULATION = {
    "cohort": "carts",
    "asked_at": "2026-07-01T09:00:00.123456Z",
    "state": "waiting",
    "is_open": True,
    "version": None,
    "error": "",
}
MOST_IDS = 100_000
LARGEST_PAGE = 10_000
# What settles the question that a body leaves open, by the field of Hints.
SETTLED_BY = {
    "heading": "Send heading=true or heading=false in the query.",
    "column": "Send column=NAME in the query.",
    "separator": f"Send separator, one of {', '.join(SEPARATOR_NAMES)}, in the query.",
    "encoding": "Send encoding=windows-1252 in the query.",
    "kind": "",
}
# Seconds that a request waits for a refresh that is running, and that deleting goes on in a request.
WAIT = 10.0


class Conflict(exceptions.APIException):
    """The request is fine, but the cohort cannot do it now, or not in this way."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, error: Exception, code: str, *, retry_after: int | None = None) -> None:
        super().__init__(str(error), code)
        if retry_after is not None:
            self.wait = retry_after  # DRF turns it into Retry-After


class TooMany(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class CohortViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Cohort],
):
    queryset = Cohort.objects.order_by("key")
    serializer_class = CohortSerializer
    lookup_field = "key"
    lookup_value_regex = "[-a-zA-Z0-9_]+"
    search_fields = Cohort.SEARCH_FIELDS
    action_permissions = {"calculate": MAY_CALCULATE}
    filters = {
        "tag": ("tags__icontains", TagText(max_length=40, help_text="Cohorts that have this tag.")),
        "owner": ("owner", serializers.CharField(max_length=150)),
        "source_kind": ("source_kind", serializers.ChoiceField(SourceKind.choices)),
    }

    def perform_destroy(self, instance: Cohort) -> None:
        try:
            remove.remove(instance.pk)
        except remove.CohortInUse as error:
            raise Conflict(error, "in_use") from None
        except refresh.RefreshError as error:
            raise _conflict(error) from None
        remove.drain(WAIT)

    @extend_schema(
        summary="Calculate a cohort now",
        request=None,
        responses={202: CalculationSerializer},
        examples=[OpenApiExample("Asked for", response_only=True, value=EXAMPLE_CALCULATION)],
    )
    @action(detail=True, methods=["post"], url_path="calculation")
    def calculate(self, request: Request, **names: Any) -> Response:
        """Let the worker calculate it at once, for cohorts of events or of a query; its schedule goes on.

        Poll the same address with `asked_at` from the reply. Asking twice before the worker comes makes one
        calculation.
        """
        cohort = self.get_object()
        try:
            asked_at = asked.ask(cohort)
        except refresh.OutsideWindow as error:
            raise _conflict(error) from None
        if asked_at is None:
            raise Conflict(
                importing.WrongSource(f"{cohort.key} is not calculated: its members are given to it."),
                "wrong_source",
            )
        return Response(
            CalculationSerializer(asked.state_of(cohort, asked_at)).data, status.HTTP_202_ACCEPTED
        )

    @extend_schema(
        summary="What became of a calculation",
        parameters=[
            OpenApiParameter(
                "asked_at", OpenApiTypes.DATETIME, required=True, description="From the reply that asked."
            )
        ],
        responses=CalculationSerializer,
        filters=False,
    )
    @calculate.mapping.get
    def calculation(self, request: Request, **names: Any) -> Response:
        """Poll until `is_open` is false: then a version was published or is held, or `error` says why not.

        A worker that dies over it leaves it open: ask again.
        """
        try:
            asked_at = serializers.DateTimeField().run_validation(request.query_params.get("asked_at", ""))
        except exceptions.ValidationError as error:
            raise exceptions.ValidationError({"asked_at": error.detail}) from None
        return Response(CalculationSerializer(asked.state_of(self.get_object(), asked_at)).data)


class _StreamParser(BaseParser):
    """Hands the body on as it comes, for it may be larger than the memory should hold."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return stream


class CsvBody(_StreamParser):
    media_type = "text/csv"


class NdjsonBody(_StreamParser):
    media_type = "application/x-ndjson"


class MembersPermissions(api_settings.DEFAULT_PERMISSION_CLASSES[0]):  # type: ignore[name-defined, misc]
    """Who may upload members in the browser may send them here; that is no change of configuration."""

    perms_map = {
        **api_settings.DEFAULT_PERMISSION_CLASSES[0].perms_map,  # type: ignore[attr-defined]
        "PUT": ["cohorts.add_upload"],
        "PATCH": ["cohorts.add_upload"],
    }


class MembersView(APIView):
    """The members of a cohort whose source is the REST API; of any cohort, to read."""

    queryset = Cohort.objects.all()  # whose permissions count
    permission_classes = [MembersPermissions]
    parser_classes = [*api_settings.DEFAULT_PARSER_CLASSES, CsvBody, NdjsonBody]  # type: ignore[list-item]

    @extend_schema(
        parameters=[
            OpenApiParameter("version", int, description="A version to read; default: the latest."),
            OpenApiParameter("after", str, description="Only user ids greater than this one."),
            OpenApiParameter("limit", int, description=f"At most so many: 1 to {LARGEST_PAGE:,}."),
        ],
        responses=MembersPageSerializer,
    )
    def get(self, request: Request, key: str) -> Response:
        """Return one page of the members, in the order of their bytes."""
        cohort = get_object_or_404(Cohort, key=key)
        version = whole_number(request, "version", default=cohort.version, least=1, most=2**31 - 1)
        limit = whole_number(request, "limit", default=1_000, least=1, most=LARGEST_PAGE)
        after = request.query_params.get("after", "")
        if "\0" in after:
            raise exceptions.ValidationError({"after": "The user id contains a NUL character."})
        if cohort.version == 0 and version != cohort.held_number:
            raise Conflict(refresh.RefreshError(f"{key} is not calculated yet."), "not_calculated")
        try:
            members.readable(cohort.pk, version)
        except members.UnreadableVersion as error:
            raise exceptions.NotFound(str(error), "no_such_version") from None
        page = members.in_version_page(cohort.pk, version, after, limit)
        size = members.size_of(cohort.pk, version)
        more = page[-1] if len(page) == limit else None
        return Response({"version": version, "size": size, "userIds": page, "next": more})

    @extend_schema(
        request={
            "application/json": ReplaceSerializer,
            "text/csv": {"type": "string", "format": "binary"},
            "application/x-ndjson": {"type": "string", "format": "binary"},
        },
        parameters=[
            OpenApiParameter("column", str, description="The column with the ids, by its heading or number."),
            OpenApiParameter("heading", bool, description="Whether the first line of a CSV is a heading."),
            OpenApiParameter("separator", str, enum=list(SEPARATOR_NAMES)),
            OpenApiParameter("encoding", str, enum=list(ENCODINGS)),
            OpenApiParameter("refuse_suspicious", bool, description="Refuse `null`, `8.2E+17` and the like."),
            OpenApiParameter(
                "map",
                str,
                many=True,
                description="Keep a further column as a field of people's profiles: `email=E-Mail`, "
                "`consent:boolean=May we write?`.",
            ),
            OpenApiParameter(
                "workspace", str, description="Whose profiles. Default: that of the cohort's events."
            ),
            OpenApiParameter("skip_invalid", bool, description="Pass over values of fields that are none."),
        ],
        responses={200: ReplacedSerializer, 202: ReplacedSerializer},
    )
    def put(self, request: Request, key: str) -> Response:
        """Make the ids of the body the members. 202: the version is held for a person to approve.

        What a CSV leaves open (is its first line a heading, which column has the ids) is found out, and
        refused (`unsure_file`) where it is not certain.
        """
        cohort = _for_api(key)
        suspicions = Suspicions()

        def replace(ids: Iterable[str]) -> CohortVersion:
            return refresh.replace(cohort.pk, ids, source=_source(request), wait=WAIT)

        if not _is_streamed(request):
            ids = _replacement(request.data)
            suspicions.look(ids, "\n".join(ids))
            return _answer(lambda: replace(ids), suspicions)
        with tempfile.TemporaryFile() as file:
            _store(request, file)
            refuse = _truth(request, "refuse_suspicious") or False
            hints = _hints(request)
            by = str(request.user)
            keeping = importing.Keeping(file, _fields(request, cohort), hints, name="REST API", by=by)

            def replace_by_file() -> CohortVersion:
                if keeping.fields:
                    importing.check_not_held(cohort)
                with file_of_ids.opened(file, hints=hints, suspicions=suspicions) as opened:
                    blocks = opened.blocks(refuse_suspicious=refuse)
                    return replace(chain.from_iterable(keeping.before(sorted_distinct(blocks))))

            answer = _answer(replace_by_file, suspicions)
            if keeping.found:
                answer.data["profiles"] = keeping.found.of_people() | {"changed": keeping.changed}
            return answer

    @extend_schema(request=AmendSerializer, responses=VersionSerializer)
    def patch(self, request: Request, key: str) -> Response:
        """Let users join and leave; an id in both lists leaves."""
        cohort = _for_api(key)
        if _is_streamed(request):
            raise exceptions.UnsupportedMediaType(request.content_type)
        body = _checked(request.data, {"add", "remove"})
        add, leave = _ids(body, "add"), _ids(body, "remove")
        if not add and not leave:
            raise exceptions.ValidationError("Name some users in add or remove.", "required")
        return _answer(
            lambda: refresh.amend(cohort.pk, add=add, remove=leave, source=_source(request), wait=WAIT)
        )


def _store(request: Request, file: IO[bytes]) -> None:
    """Store the body. Raises TooMany."""
    left = settings.MAX_UPLOAD_BYTES
    body: Any = request.data or io.BytesIO()  # without a body there is no stream
    while chunk := body.read(1 << 16):
        left -= len(chunk)
        if left < 0:
            raise TooMany(f"The body is larger than {settings.MAX_UPLOAD_BYTES:,} bytes.")
        file.write(chunk)
    file.seek(0)


def _hints(request: Request) -> Hints:
    """Return what the call says about its body. Raises ValidationError."""
    said = request.query_params
    if not request.content_type.startswith(CsvBody.media_type):
        return Hints(column=said.get("column", ""), kind="jsonl")
    return Hints(
        column=said.get("column", ""),
        heading=_truth(request, "heading"),
        separator=_one_of(request, "separator", SEPARATOR_NAMES),
        encoding=_one_of(request, "encoding", {name: name for name in ENCODINGS}),
        kind="csv",
    )


def _fields(request: Request, cohort: Cohort) -> Fields | None:
    """Return the further columns that are kept. Raises ValidationError, and PermissionDenied."""
    lines = request.query_params.getlist("map")
    if not lines:
        return None
    if not request.user.has_perm("people.add_profileimport"):
        raise exceptions.PermissionDenied("You may not bring profiles.")
    try:
        mapped = mapped_lines("\n".join(lines))
    except InvalidValue as error:
        raise exceptions.ValidationError({"map": str(error)}) from None
    workspace = request.query_params.get("workspace", cohort.events_workspace)
    if not profiles.store().knows(workspace):
        raise exceptions.ValidationError({"workspace": f"There is no workspace {workspace!r}."})
    return Fields(workspace, mapped, _truth(request, "skip_invalid") or False)


def _truth(request: Request, name: str) -> bool | None:
    return {"": None, "true": True, "false": False}[
        _one_of(request, name, {"true": "true", "false": "false"})
    ]


def _one_of(request: Request, name: str, known: Mapping[str, str]) -> str:
    text = request.query_params.get(name, "")
    if text and text not in known:
        raise exceptions.ValidationError({name: f"Send one of {', '.join(known)}."})
    return known.get(text, "")


def _for_api(key: str) -> Cohort:
    cohort = get_object_or_404(Cohort, key=key)
    try:
        importing.check_source(cohort, SourceKind.API)
    except importing.WrongSource as error:
        raise Conflict(error, "wrong_source") from None
    return cohort


def _is_streamed(request: Request) -> bool:
    return request.content_type.startswith((CsvBody.media_type, NdjsonBody.media_type))


def _source(request: Request) -> str:
    return f"REST API by {request.user}"


def _replacement(body: Any) -> list[str]:
    if "userIds" not in _checked(body, {"userIds"}):
        raise exceptions.ValidationError({"userIds": "This field is required."}, "required")
    return _ids(body, "userIds")


def _checked(body: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise exceptions.ValidationError(f"Send a JSON object with {', '.join(sorted(known))}.")
    if unknown := sorted(set(body) - known):
        raise exceptions.ValidationError({unknown[0]: "There is no such field."}, "unknown_field")
    return body


def _ids(body: dict[str, Any], field: str) -> list[str]:
    """Return the user ids of a field, sorted and distinct; an error names the index."""
    given = body.get(field, [])
    if not isinstance(given, list):
        raise exceptions.ValidationError({field: "Send a list of user ids."}, "not_a_list")
    if len(given) > MOST_IDS:
        raise TooMany(
            f"{field} holds {len(given):,} ids; at most {MOST_IDS:,} a call. "
            "Put more as a text/csv or application/x-ndjson body."
        )
    found = set()
    for index, value in enumerate(given):
        try:
            found.add(check_user_id(value))
        except InvalidUserId as error:
            said = {f"{field}[{index}]": f"The user id {error}."}
            raise exceptions.ValidationError(said, "invalid_user_id") from None
    return sorted(found)


def whole_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Return a number of the query. Raises ValidationError that names it."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise exceptions.ValidationError({name: f"Send a number from {least:,} to {most:,}."})
    return int(text)


def _answer(write: Callable[[], CohortVersion], suspicions: Suspicions | None = None) -> Response:
    """Make a version and return it; 202 while a person must approve it first."""
    try:
        version = write()
    except Unsure as error:
        raise exceptions.ValidationError(f"{error} {SETTLED_BY[error.asks]}", "unsure_file") from None
    except (InvalidTable, profiles.Refused) as error:
        raise exceptions.ValidationError(str(error), "invalid_file") from None
    except refresh.RefreshError as error:
        raise _conflict(error) from None
    held = version.state == VersionState.HELD
    answer = VersionSerializer(version).data
    if suspicions is not None:
        answer |= {"suspicious": suspicions.as_json()}
    return Response(answer, status.HTTP_202_ACCEPTED if held else status.HTTP_200_OK)


def _conflict(error: refresh.RefreshError) -> Conflict:
    if isinstance(error, refresh.VersionHeld):
        return Conflict(error, "held", retry_after=300)
    if isinstance(error, refresh.OutsideWindow):
        return Conflict(error, "outside_window")
    return Conflict(error, "busy", retry_after=5)
