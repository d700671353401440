"""What a form becomes, in the admin, that a second person has to approve: see proposing.py."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from pagekit.approval import NeedsApproval


class ProposesInstead:
    """Middleware: a page that may not save alone leads to the proposal that it has made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, NeedsApproval):
            return None
        from cohortsite import proposing  # here: the settings name this module

        try:
            proposal = proposing.propose(error.row, request.user)
        except proposing.NothingChanges as nothing:
            messages.info(request, str(nothing))
            return HttpResponseRedirect(error.row.get_absolute_url())
        messages.success(request, "Proposed, and nothing is changed yet: another person has to approve it.")
        return HttpResponseRedirect(proposal.get_absolute_url())


class MayPropose:
    """Mixed into the admin of what is configured by proposals: who may propose has its forms."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)  # type: ignore[misc]
        return allowed or _may_propose(request.user, self.model)  # type: ignore[attr-defined]

    def has_add_permission(self, request: HttpRequest) -> bool:
        allowed: bool = super().has_add_permission(request)  # type: ignore[misc]
        return allowed or _may_propose(request.user, self.model)  # type: ignore[attr-defined]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["proposes"] = _may_propose(request.user, self.model)  # type: ignore[attr-defined]
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]


def _may_propose(user: Any, model: Any) -> bool:
    from cohortsite.proposing import may_propose

    return may_propose(user, model)
