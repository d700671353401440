"""Pages of what happened: nobody edits it, some may decide what follows."""

from functools import partial
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse

from pagekit.actions import Action, ActionsAdmin, Refused
from pagekit.read_only import ReadOnlyAdmin
from syncs.lifecycle import CannotRun

# Whoever has it may run, stop, pause and resume syncs, and decide about rejected users.
MAY_RUN = "syncs.run_sync"
RunAction = partial(Action, permission=MAY_RUN)


class HistoryAdmin(ReadOnlyAdmin, ActionsAdmin):
    """History: nobody adds, changes or deletes a row, whatever their permissions; a page shows it."""

    page_template = ""
    show_full_result_count = False
    refusals: tuple[type[Exception], ...] = (Refused, CannotRun)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """For the actions of a list."""
        return bool(request.user.has_perm(MAY_RUN))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the row; there is no form."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "original": row,
            **self.shown_for(request, row),
            **self.page_context(request, row),
        }
        return TemplateResponse(request, self.page_template, context)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page's template shows, alongside the row and its actions."""
        return {}
