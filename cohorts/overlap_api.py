"""How cohorts overlap, over REST: /api/v1/overlap?cohort=KEY&cohort=KEY."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cohorts.api import Conflict, TooMany
from cohorts.models import Cohort
from cohorts.overlap import CannotCompare, Overlap, TakesTooLong, overlap_of


class CohortInOverlapSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    version = serializers.IntegerField(help_text="The published version that was counted.")
    size = serializers.IntegerField()


class PartSerializer(serializers.Serializer[Any]):
    cohorts = serializers.ListField(
        child=serializers.CharField(), help_text="In each of these, and in no other."
    )
    count = serializers.IntegerField()


class OverlapSerializer(serializers.Serializer[Any]):
    cohorts = CohortInOverlapSerializer(many=True)
    anybody = serializers.IntegerField(help_text="Users in one of them at least.")
    everywhere = serializers.IntegerField(help_text="Users in all of them.")
    parts = PartSerializer(many=True)


def as_json(found: Overlap) -> dict[str, Any]:
    """Return an overlap as the REST API and the command write it."""
    return {
        "cohorts": [
            {"key": cohort.key, "version": cohort.version, "size": found.size(cohort.key)}
            for cohort in found.cohorts
        ],
        "anybody": found.anybody,
        "everywhere": found.everywhere,
        "parts": [{"cohorts": list(part.inside), "count": part.count} for part in found.parts],
    }


class OverlapView(APIView):
    queryset = Cohort.objects.all()  # whose permissions count

    @extend_schema(
        summary="How cohorts overlap",
        parameters=[
            OpenApiParameter(
                "cohort", str, many=True, required=True, description="Two to five cohorts' keys."
            )
        ],
        responses=OverlapSerializer,
    )
    def get(self, request: Request) -> Response:
        """Count the users of each combination of two to five cohorts, at their published versions.

        413: they are too large to be counted within a request.
        """
        keys = request.query_params.getlist("cohort")
        known = {cohort.key: cohort for cohort in Cohort.objects.filter(key__in=keys[:10])}
        if unknown := [key for key in keys if key not in known]:
            raise exceptions.ValidationError({"cohort": f"There is no cohort {unknown[0]!r}."})
        try:
            found = overlap_of([known[key] for key in keys])
        except TakesTooLong as error:
            raise TooMany(str(error)) from None
        except CannotCompare as error:
            if all(known[key].version for key in keys):
                raise exceptions.ValidationError({"cohort": str(error)}) from None
            raise Conflict(error, "not_calculated") from None
        return Response(as_json(found))
