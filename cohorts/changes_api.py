"""Changes of a cohort over REST: /api/v1/cohorts/KEY/changes."""

from dataclasses import asdict
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cohorts import changes, refresh
from cohorts.api import Conflict, whole_number
from cohorts.models import Cohort


class Gone(exceptions.APIException):
    status_code = status.HTTP_410_GONE


class ChangesSerializer(serializers.Serializer[Any]):
    since = serializers.IntegerField(help_text="What was asked for; 0: these are all members.")
    version = serializers.IntegerField(help_text="What you hold after the last page: the next `since`.")
    size = serializers.IntegerField(help_text="How many members this version has.")
    entered = serializers.ListField(child=serializers.CharField(), help_text="They are in it.")
    left = serializers.ListField(child=serializers.CharField(), help_text="They are not in it.")
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor`; null on the last page.")
    digest = serializers.CharField(
        allow_null=True, help_text="On the last page: of all members of this version, to compare with yours."
    )


class ChangesView(APIView):
    queryset = Cohort.objects.all()  # whose permissions count

    @extend_schema(
        summary="Who entered and left since a version",
        parameters=[
            OpenApiParameter("since", int, required=True, description="The version that you hold; 0: none."),
            OpenApiParameter("cursor", str, description="From the reply before this one."),
            OpenApiParameter("limit", int, description=f"Users a page: 1 to {changes.LARGEST_PAGE:,}."),
        ],
        responses={200: ChangesSerializer},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return one page of what changed. 410: that is gone; drop what you hold, begin with since=0."""
        cohort = get_object_or_404(Cohort, key=key)
        if "since" not in request.query_params:
            said = "Send the version that you hold, or 0 for all members."
            raise exceptions.ValidationError({"since": said}, "required")
        since = whole_number(request, "since", default=0, least=0, most=2**31 - 1)
        limit = whole_number(request, "limit", default=changes.PAGE, least=1, most=changes.LARGEST_PAGE)
        if cohort.version == 0:
            raise Conflict(refresh.RefreshError(f"{key} is not calculated yet."), "not_calculated")
        try:
            page = changes.page_of(cohort, since, request.query_params.get("cursor", ""), limit)
        except changes.Gone as error:
            raise Gone(str(error), error.code) from None
        except changes.WrongCursor as error:
            raise exceptions.ValidationError({"cursor": str(error)}, "wrong_cursor") from None
        answer = asdict(page)
        return Response(answer | {"next": answer.pop("cursor")})
