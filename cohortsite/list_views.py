"""Lists as each person wants them: which columns they have, and views that are kept by a name.

A view is what the list was filtered and sorted by, and its columns; whoever opens it has these columns until
they open another one. It belongs to one person, and gives nobody a right.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from cohortsite.models import ListView
from pagekit.lists import GlanceAdmin

# Of one person, for one list; the length of a name, and of what a list is filtered by.
MOST, LONGEST, LONGEST_QUERY = 30, 60, 2_000
# What a list's address says of the page that one is on.
PASSING = ("p", "e", "all", "view")


class KeepsViews(GlanceAdmin):
    """Mixed into the admin of a list with columns to choose by `site.Site`."""

    def get_urls(self) -> list[URLPattern]:
        views = self.admin_site.admin_view(require_POST(self.views_view))
        return [path("views/", views, name=f"{self._page}_views"), *super().get_urls()]

    @property
    def _page(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if "view" in request.GET:
            return self._open(request)
        query = cleaned(request.GET.urlencode())
        tools = {
            "views": [
                {"view": view, "current": view.query == query} for view in self._views(request) if view.name
            ],
            "columns": self.column_choices(request),
            "query": query,
            "views_url": reverse(f"admin:{self._page}_views"),
            "export_url": reverse(f"admin:{self._page}_export_list"),
        }
        shown: HttpResponse = super().changelist_view(request, {"tools": tools, **(extra_context or {})})
        return shown

    def chosen_columns(self, request: HttpRequest) -> Sequence[str]:
        """Return those of the view that was opened last, or those that the person wants of this list."""
        opened: list[str] | None = request.session.get(self._session_key)
        if opened is not None:
            return opened
        return next((view.columns for view in self._views(request) if not view.name), [])

    def views_view(self, request: HttpRequest) -> HttpResponse:
        """POST: choose columns, keep a view or drop one; then show the list again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = cleaned(request.POST.get("query", "")[:LONGEST_QUERY])
        columns = [name for name in self.all_columns() if name in request.POST.getlist("columns")]
        name = request.POST.get("name", "").strip()
        if drop := request.POST.get("drop", ""):
            if drop.isascii() and drop.isdecimal() and len(drop) < 18:
                self._own(request).filter(pk=drop).exclude(name="").delete()
        elif "keep" in request.POST:
            self._keep(request, name, query, columns)
        else:
            self._store(request, "", "", columns)
            request.session.pop(self._session_key, None)
        url = reverse(f"admin:{self._page}_changelist")
        return HttpResponseRedirect(f"{url}?{query}" if query else url)

    def _keep(self, request: HttpRequest, name: str, query: str, columns: list[str]) -> None:
        if not name or len(name) > LONGEST or not name.isprintable():
            messages.error(request, f"Give the view a name of 1 to {LONGEST} characters.")
        elif self._own(request).exclude(name__in=("", name)).count() >= MOST:
            messages.error(request, f"You have {MOST} views of this list: drop one first.")
        else:
            self._store(request, name, query, columns)
            request.session[self._session_key] = columns
            messages.success(request, f"The view “{name}” is kept, for you.")

    def _store(self, request: HttpRequest, name: str, query: str, columns: list[str]) -> None:
        kept = {"query": query, "columns": columns}
        ListView.objects.update_or_create(
            user_id=int(request.user.pk or 0), page=self._page, name=name, defaults=kept
        )

    def _open(self, request: HttpRequest) -> HttpResponse:
        """Show the list as a view says; without columns and filters of its own if there is no such view."""
        key = request.GET["view"]
        view = self._own(request).filter(pk=key).first() if key.isascii() and key.isdecimal() else None
        request.session.pop(self._session_key, None)
        if view is not None:
            request.session[self._session_key] = view.columns
        query = view.query if view else ""
        return HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)

    def _own(self, request: HttpRequest) -> Any:
        return ListView.objects.filter(user_id=int(request.user.pk or 0), page=self._page)

    def _views(self, request: HttpRequest) -> list[ListView]:
        """Return the person's views of this list, once a request."""
        found: list[ListView] | None = getattr(request, "list_views", None)
        if found is None:
            found = list(self._own(request).order_by("name"))
            request.list_views = found  # type: ignore[attr-defined]
        return found

    @property
    def _session_key(self) -> str:
        return f"columns of {self._page}"


def cleaned(query: str) -> str:
    """Return what a list is filtered and sorted by, without the page that one is on."""
    found = QueryDict(query, mutable=True)
    for name in PASSING:
        found.pop(name, None)
    return found.urlencode()
