"""Syncs, runs and rejected users over REST: /api/v1/syncs and /api/v1/runs."""

from contextlib import suppress
from typing import Any, TypeVar, cast

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from destinations.payloads import TemplateError
from destinations.secrets import SecretUnreadable
from events.user_ids import InvalidUserId, check_user_id
from syncs import comparing, held, lifecycle
from syncs.choices import ASKED_MODES, DifferenceKind, RejectionState, RunMode, RunState, Trigger
from syncs.models import Comparison, Driver, Rejection, Run, Sync
from syncs.preview import preview
from syncs.serializers import (
    ChangedSerializer,
    ChosenSerializer,
    CompareSerializer,
    ComparisonSerializer,
    DifferenceSerializer,
    DryRunSerializer,
    GoBackSerializer,
    HeldQuerySerializer,
    HeldSerializer,
    PreviewSerializer,
    RejectionSerializer,
    RepairSerializer,
    RunSerializer,
    SyncSerializer,
    TriggerSerializer,
)

Row = TypeVar("Row")

ASKED = [mode.value for mode in ASKED_MODES]
MAY_RUN = "syncs.run_sync"
SLUG = serializers.SlugField
ONE_SYNC = OpenApiParameter(
    "id", str, OpenApiParameter.PATH, description="The sync's number, or `cohort-key:destination-name`."
)
EXAMPLE_RUN = {
    "id": 17,
    "sync": 3,
    "sync_name": "buyers:acme",
    "mode": "changes",
    "trigger": "api",
    "triggered_by": "airflow",
    "state": "pending",
    "is_open": True,
    "reason": "",
    "note": "",
    "from_version": 13,
    "to_version": 14,
    "planned": None,
    "added": 0,
    "removed": 0,
    "rejected": 0,
    "undelivered": 0,
    "requests": 0,
    "retries": 0,
    "trouble": "",
    "cohort_error": "",
    "failed_tries": [],
    "cancel_requested": False,
    "cancelled_by": "",
    "approved_by": "",
    "created_at": "2026-07-01T09:00:00Z",
    "started_at": None,
    "finished_at": None,
}
NEW_SYNC = OpenApiExample(
    "Every day at nine in Berlin",
    request_only=True,
    value={
        "cohort": "buyers",
        "destination": "acme",
        "schedule_kind": "daily",
        "schedule_at": "09:00",
        "timezone": "Europe/Berlin",
    },
)


class NotNow(exceptions.APIException):
    """The request is fine, but the sync or the run cannot do it now."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_now"


class UserIdText(serializers.CharField):
    """A user id in a query, byte for byte."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return check_user_id(data)
        except InvalidUserId as error:
            raise serializers.ValidationError(f"The user id {error}.", "invalid_user_id") from None


class IsArchived(serializers.BooleanField):
    """For the lookup `archived_at__isnull`, which says the opposite."""

    def to_internal_value(self, data: Any) -> bool:
        return not super().to_internal_value(data)


@extend_schema_view(
    list=extend_schema(summary="List syncs"),
    retrieve=extend_schema(summary="Read a sync", parameters=[ONE_SYNC]),
    create=extend_schema(
        summary="Make a sync",
        description="The pair of an archived sync is taken up again, with what its partner holds.",
        examples=[NEW_SYNC],
    ),
    partial_update=extend_schema(summary="Change a sync", parameters=[ONE_SYNC]),
    destroy=extend_schema(
        summary="Archive a sync",
        description="Its history stays, and the partner keeps what it has unless `empty=true`.",
        parameters=[
            ONE_SYNC,
            OpenApiParameter("empty", bool, description="Remove everybody from the partner first."),
        ],
    ),
)
class SyncViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Sync],
):
    queryset = Sync.objects.select_related("cohort", "destination__driver").order_by("pk")
    serializer_class = SyncSerializer
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    lookup_field = "id"
    lookup_value_regex = "[0-9]{1,18}|[-a-zA-Z0-9_]+:[-a-zA-Z0-9_]+"
    action_permissions = dict.fromkeys(
        ("run", "pause", "resume", "retry", "dismiss", "compare", "repair", "go_back", "go_on"), MAY_RUN
    )
    # Archived syncs are read one by one, or asked for.
    filters = {
        "cohort": ("cohort__key", SLUG(max_length=100, help_text="A cohort's key.")),
        "destination": ("destination__name", SLUG(max_length=50, help_text="A destination's name.")),
        "enabled": ("enabled", serializers.BooleanField()),
        "archived": (
            "archived_at__isnull",
            IsArchived(help_text="true: only archived ones; else they are left out."),
        ),
    }

    def get_object(self) -> Sync:
        """Return the sync that the address names, by number or by pair."""
        named = str(self.kwargs["id"])
        cohort, _, destination = named.partition(":")
        where: dict[str, Any] = (
            {"cohort__key": cohort, "destination__name": destination} if destination else {"pk": int(named)}
        )
        sync = get_object_or_404(self.get_queryset(), **where)
        self.check_object_permissions(self.request, sync)
        return sync

    def perform_destroy(self, instance: Sync) -> None:
        empty = serializers.BooleanField().run_validation(self.request.query_params.get("empty", "false"))
        try:
            lifecycle.archive(instance, by=str(self.request.user), empty_first=empty)
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None

    @extend_schema(
        summary="Run a sync",
        parameters=[ONE_SYNC],
        request=TriggerSerializer,
        responses={202: RunSerializer},
        examples=[
            OpenApiExample("Changes", request_only=True, value={"mode": "changes"}),
            OpenApiExample("The run", response_only=True, status_codes=["202"], value=EXAMPLE_RUN),
        ],
    )
    @action(detail=True, methods=["post"], url_path="runs")
    def run(self, request: Request, **names: Any) -> Response:
        """Make a run for the worker to send, and return it at once; poll it at /api/v1/runs/{id}.

        While a run of the sync is open, that one is returned: asking twice runs once.
        """
        sync = self.get_object()
        body = TriggerSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        mode = body.validated_data["mode"]
        return _accepted(_started(sync, mode, str(request.user)))

    @extend_schema(
        summary="Dry run",
        parameters=[
            ONE_SYNC,
            OpenApiParameter("mode", str, enum=ASKED, default="changes"),
            OpenApiParameter("version", int, description="As if it were set back to this older version."),
        ],
        responses=PreviewSerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, **names: Any) -> Response:
        """Return what a run would send now. Nothing is written or sent."""
        sync = self.get_object()
        body = DryRunSerializer(data=request.query_params.dict())
        body.is_valid(raise_exception=True)
        try:
            found = preview(
                sync, mode=body.validated_data["mode"], version=body.validated_data.get("version")
            )
        except (lifecycle.CannotRun, TemplateError, SecretUnreadable) as error:
            raise NotNow(str(error)) from None
        return Response(PreviewSerializer(found).data)

    @extend_schema(summary="Pause a sync", parameters=[ONE_SYNC], request=None, responses=SyncSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, **names: Any) -> Response:
        """From now on its schedule starts nothing; a run that goes on is cancelled, a held one stays held."""
        with suppress(lifecycle.CannotRun):  # it was paused already
            lifecycle.pause(self.get_object(), by=str(request.user))
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(summary="Resume a sync", parameters=[ONE_SYNC], request=None, responses=SyncSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **names: Any) -> Response:
        """Follow the schedule again; what was due meanwhile is not made up for."""
        sync = self.get_object()
        if sync.archived_at:
            raise NotNow(f"{sync} is archived: make it again to take it up.")
        sync.reschedule(timezone.now())
        Sync.objects.switch_on(sync.pk, next_due_at=sync.next_due_at)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="List a sync's rejected users",
        parameters=[
            ONE_SYNC,
            OpenApiParameter("state", str, enum=RejectionState.values),
            OpenApiParameter("code", str, description="What was wrong, as the partner or we call it."),
            OpenApiParameter("userId", str, description="One user, byte for byte."),
        ],
        responses=RejectionSerializer(many=True),
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def rejections(self, request: Request, **names: Any) -> Response:
        """Users whom the partner does not have right, in the order of their ids, and why."""
        found = self.get_object().rejections.order_by("user_id")
        for name, field in REJECTION_FILTERS.items():
            if name in request.query_params:
                found = found.filter(**{field[0]: _query(request, name, field[1])})
        page: list[Any] | None = self.paginate_queryset(cast("Any", found))
        return self.get_paginated_response(RejectionSerializer(page or [], many=True).data)

    @extend_schema(
        summary="Try rejected users again",
        parameters=[ONE_SYNC],
        request=ChosenSerializer,
        responses=ChangedSerializer,
        examples=[OpenApiExample("Two of them", request_only=True, value={"userIds": ["u1", "u2"]})],
    )
    @action(detail=True, methods=["post"], url_path="rejections/retry")
    def retry(self, request: Request, **names: Any) -> Response:
        """Let the sync's next run try them, as if for the first time."""
        return Response({"users": self._chosen(request).retry()})

    @extend_schema(
        summary="Dismiss rejected users",
        parameters=[ONE_SYNC],
        request=ChosenSerializer,
        responses=ChangedSerializer,
        examples=[OpenApiExample("All of them", request_only=True, value={"all": True})],
    )
    @action(detail=True, methods=["post"], url_path="rejections/dismiss")
    def dismiss(self, request: Request, **names: Any) -> Response:
        """Try them no more until their membership changes, and count them no more."""
        return Response({"users": self._chosen(request).dismiss()})

    @extend_schema(
        summary="Whom its partner held at a time",
        parameters=[
            ONE_SYNC,
            OpenApiParameter("at", str, required=True, description="A time with its offset."),
            OpenApiParameter("after", str, description="The last user of the page before; none: the first."),
            OpenApiParameter("limit", int, description=f"Users a page: 1 to {held.LARGEST_PAGE:,}."),
        ],
        responses=HeldSerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def held(self, request: Request, **names: Any) -> Response:
        """Return a page of users, since when each was there, and the run and batch that brought them.

        `certain` is false when a run was under way then, or had not ended well.
        """
        sync = self.get_object()
        asked = HeldQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        try:
            found = held.at(sync, given["at"])
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        rows = held.page(sync, found, given["after"], given["limit"])
        after = rows[-1].user_id if len(rows) == given["limit"] else None
        said = {"version": found.version, "size": found.size, "certain": found.certain, "users": rows}
        return Response(HeldSerializer(said | {"next": after}).data)

    @extend_schema(
        summary="Set a sync back",
        parameters=[ONE_SYNC],
        request=GoBackSerializer,
        responses={202: RunSerializer},
    )
    @action(detail=True, methods=["post"], url_path="go-back")
    def go_back(self, request: Request, **names: Any) -> Response:
        """Bring the partner to an older version of the cohort, where it stays until /go-on.

        Name the version, or a time at which it was the latest. /preview?version=N says what would be sent.
        """
        sync = self.get_object()
        body = GoBackSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        given = body.validated_data
        try:
            version = given.get("version") or lifecycle.version_at(sync, given["as_of"])
            run = lifecycle.go_back(sync, version, trigger=Trigger.API, by=str(request.user))
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        return _accepted(run)

    @extend_schema(
        summary="Let a sync go on", parameters=[ONE_SYNC], request=None, responses={202: RunSerializer}
    )
    @action(detail=True, methods=["post"], url_path="go-on")
    def go_on(self, request: Request, **names: Any) -> Response:
        """Follow the cohort again, and make the run to its latest version."""
        try:
            run = lifecycle.go_on(self.get_object(), trigger=Trigger.API, by=str(request.user))
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        return _accepted(run)

    @extend_schema(
        summary="Compare a sync with its partner",
        parameters=[ONE_SYNC],
        request=CompareSerializer,
        responses={202: ComparisonSerializer},
    )
    @action(detail=True, methods=["post"])
    def compare(self, request: Request, **names: Any) -> Response:
        """Let the worker read back what the partner has; poll /comparison until its state is done or failed.

        While a comparison of the sync is open, that one is returned.
        """
        body = CompareSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            made = comparing.ask(
                self.get_object(), trigger=Trigger.API, by=str(request.user), **body.validated_data
            )
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        return Response(ComparisonSerializer(made).data, status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Read a sync's last comparison",
        parameters=[ONE_SYNC],
        responses=ComparisonSerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def comparison(self, request: Request, **names: Any) -> Response:
        """Counts, and the first users of each kind. 404 when it was never compared."""
        return Response(ComparisonSerializer(self._last_comparison()).data)

    @extend_schema(
        summary="List who differs",
        parameters=[ONE_SYNC, OpenApiParameter("kind", str, enum=DifferenceKind.values)],
        responses=DifferenceSerializer(many=True),
        filters=False,
    )
    @action(detail=True, methods=["get"], url_path="comparison/differences")
    def differences(self, request: Request, **names: Any) -> Response:
        """Users of the last comparison, by kind, in the order of their ids."""
        found = self._last_comparison().differences.order_by("kind", "user_id")
        if "kind" in request.query_params:
            found = found.filter(
                kind=_query(request, "kind", serializers.ChoiceField(DifferenceKind.choices))
            )
        page: list[Any] | None = self.paginate_queryset(cast("Any", found))
        return self.get_paginated_response(DifferenceSerializer(page or [], many=True).data)

    @extend_schema(
        summary="Put right who differs",
        parameters=[ONE_SYNC],
        request=RepairSerializer,
        responses={202: RunSerializer},
    )
    @action(detail=True, methods=["post"], url_path="comparison/repair")
    def repair(self, request: Request, **names: Any) -> Response:
        """Make a run that adds whom the last comparison found missing. 409 when there is nobody."""
        body = RepairSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            made = comparing.repair(
                self._last_comparison(), trigger=Trigger.API, by=str(request.user), **body.validated_data
            )
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        if made is None:
            raise NotNow("There is nobody to be put right.")
        return _accepted(made)

    def _last_comparison(self) -> Comparison:
        found = self.get_object().comparisons.first()
        if found is None:
            raise exceptions.NotFound("This sync was never compared with its partner.")
        return found

    def filter_queryset(self, queryset: QuerySet[Sync, Row]) -> QuerySet[Sync, Row]:
        if self.action == "list" and "archived" not in self.request.query_params:
            queryset = queryset.filter(archived_at=None)
        return super().filter_queryset(queryset)

    def _chosen(self, request: Request) -> Any:
        """Return the rejections of the sync that the body chooses."""
        sync = self.get_object()
        body = ChosenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = Rejection.objects.filter(sync=sync)
        users = body.validated_data.get("userIds")
        return found if users is None else found.filter(user_id__in=users)


REJECTION_FILTERS: dict[str, tuple[str, Any]] = {
    "state": ("state", serializers.ChoiceField(RejectionState.choices)),
    "code": ("code", serializers.CharField(max_length=50)),
    "userId": ("user_id", UserIdText()),
}


@extend_schema_view(
    list=extend_schema(summary="List runs", description="The latest first."),
    retrieve=extend_schema(
        summary="Read a run",
        description="Poll this until `is_open` is false.",
        examples=[OpenApiExample("A run", response_only=True, value=EXAMPLE_RUN)],
    ),
)
class RunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Run]):
    queryset = (
        Run.objects.select_related("sync__cohort", "sync__destination")
        .prefetch_related("tries")
        .order_by("-pk")
    )
    serializer_class = RunSerializer
    lookup_value_regex = "[0-9]{1,18}"
    action_permissions = dict.fromkeys(("cancel", "resume", "approve", "refuse"), MAY_RUN)
    filters = {
        "cohort": ("sync__cohort__key", SLUG(max_length=100, help_text="A cohort's key.")),
        "destination": ("sync__destination__name", SLUG(max_length=50, help_text="A destination's name.")),
        "sync": (
            "sync",
            serializers.IntegerField(min_value=1, max_value=10**18, help_text="A sync's number."),
        ),
        "state": ("state", serializers.ChoiceField(RunState.choices)),
        "mode": ("mode", serializers.ChoiceField(RunMode.choices)),
        "trigger": ("trigger", serializers.ChoiceField(Trigger.choices)),
    }

    @extend_schema(summary="Cancel a run", request=None, responses={202: RunSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **names: Any) -> Response:
        """What is in flight comes to its end, nothing more is sent; what was sent stays."""
        return self._decided(request, lifecycle.cancel)

    @extend_schema(summary="Approve a held run", request=None, responses={202: RunSerializer})
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, **names: Any) -> Response:
        """Let it do what it was held for."""
        return self._decided(request, lifecycle.approve)

    @extend_schema(summary="Refuse a held run", request=None, responses={202: RunSerializer})
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, **names: Any) -> Response:
        """End it unsent; the partner keeps what it has."""
        return self._decided(request, lifecycle.refuse)

    @extend_schema(summary="Resume a run", request=None, responses={202: RunSerializer})
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **names: Any) -> Response:
        """Let a parked run go on now, or take a failed one up again, with its own target."""
        run = self.get_object()
        if run.state == RunState.PARKED:
            Driver.objects.try_now(run.sync.destination_id)
            return _accepted(self.get_object())
        if run.state != RunState.FAILED or Run.objects.filter(sync=run.sync_id, pk__gt=run.pk).exists():
            raise NotNow("Only a parked run, or a failed one that is its sync's latest, can be resumed.")
        mode = RunMode.EMPTY if run.mode == RunMode.EMPTY else RunMode.CHANGES
        return _accepted(_started(run.sync, mode, str(request.user)))

    def _decided(self, request: Request, decide: Any) -> Response:
        run = self.get_object()
        try:
            decide(run, by=str(request.user))
        except lifecycle.CannotRun as error:
            raise NotNow(str(error)) from None
        return _accepted(self.get_object())


def _started(sync: Sync, mode: str, by: str) -> Run:
    """Start a run. Who asks for emptying means that everybody goes: a guard need not ask again.

    The sync is then paused, as in the admin, so that its schedule does not fill the partner again.
    """
    try:
        run = lifecycle.start(sync, trigger=Trigger.API, mode=mode, by=by, approved=mode == RunMode.EMPTY)
    except lifecycle.CannotRun as error:
        raise NotNow(str(error)) from None
    if mode == RunMode.EMPTY:
        Sync.objects.switch_off(sync.pk)
    return Run.objects.select_related("sync__cohort", "sync__destination").get(pk=run.pk)


def _accepted(run: Run) -> Response:
    return Response(RunSerializer(run).data, status.HTTP_202_ACCEPTED)


def _query(request: Request, name: str, field: Any) -> Any:
    try:
        return field.run_validation(request.query_params[name])
    except exceptions.ValidationError as error:
        raise exceptions.ValidationError({name: error.detail}) from None
