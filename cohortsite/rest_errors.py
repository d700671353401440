"""The one shape of the REST API's errors. Settings name it.

Not in `rest.py`: DRF's views import the permissions that the settings name while they are imported.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from pagekit.approval import NeedsApproval


def error_response(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's exception handler: `{"error": {"code", "message", "field"?}}`, the first thing that is wrong.

    What a second person has to approve is no error: 202, with the proposal.
    """
    if isinstance(error, NeedsApproval):
        return _proposed(error, context)
    response = exception_handler(error, dict(context))
    if response is None:
        return None
    detail = error.detail if isinstance(error, exceptions.APIException) else response.data["detail"]
    field, first = _first(detail)
    said = {"code": getattr(first, "code", "error"), "message": str(first)}
    response.data = {"error": said | ({"field": field} if field else {})}
    return response


def _proposed(error: NeedsApproval, context: Mapping[str, Any]) -> Response:
    from cohortsite.proposals_api import ProposalSerializer
    from cohortsite.proposing import NothingChanges, propose

    try:
        proposal = propose(error.row, context["request"].user)
    except NothingChanges:
        view = context["view"]
        return Response(view.get_serializer(view.get_object()).data)
    at = reverse("proposal-detail", args=[proposal.pk])
    return Response(
        {"proposal": ProposalSerializer(proposal).data}, status.HTTP_202_ACCEPTED, headers={"Location": at}
    )


def not_found(request: HttpRequest) -> JsonResponse:
    """What urls.py answers below /api/ where there is nothing: a script cannot read a page."""
    said = {"code": "not_found", "message": "There is nothing at this address. See /api/docs/."}
    return JsonResponse({"error": said}, status=404)


def _first(detail: Any, path: str = "") -> tuple[str, Any]:
    """Return the first error of DRF's nested detail, and the path of its field."""
    if isinstance(detail, Mapping):
        name, inner = next(iter(detail.items()))
        return _first(inner, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
    if isinstance(detail, list):
        index = next(i for i, item in enumerate(detail) if item)
        nested = isinstance(detail[index], Mapping | list)
        return _first(detail[index], f"{path}[{index}]" if nested else path)
    return path, detail
