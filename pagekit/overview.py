"""A row opens on a page to read; its form is one step behind.

    …/1/            the overview: state, numbers, what hangs on it, what to do next
    …/1/settings/   what is configured, in words
    …/1/change/     the form; who may not change the row is sent to the overview
    …/1/history/    who changed what

These and the pages of `row_pages` that are tabs stand above each of them.
"""

import json
from typing import Any

from django.contrib.admin.utils import flatten, label_for_field
from django.core.exceptions import FieldDoesNotExist
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from pagekit.actions import ActionsAdmin, Page

OVERVIEW, SETTINGS, HISTORY = "overview", "settings", "history"


class OverviewAdmin(ActionsAdmin):
    """Give it an `overview_template`, which extends pagekit/overview.html, and `about`, what that shows."""

    overview_template = ""
    settings_label = "Settings"
    # Panels and buttons are on the overview.
    change_form_outer_before_template: str | None = None

    def about(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the overview shows beside its buttons and panels."""
        raise NotImplementedError

    def described(self, row: Any) -> str:
        """Return a sentence of what is configured."""
        return ""

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<int:object_id>/", self._read(self._overview, OVERVIEW), name=self._address(OVERVIEW)),
            path(
                "<path:object_id>/settings/",
                self._read(self._settings, SETTINGS),
                name=self._address(SETTINGS),
            ),
            *super().get_urls(),
        ]

    def page_url(self, row: Any) -> str:
        return reverse(f"admin:{self._address(OVERVIEW)}", args=[row.pk])

    def around(self, request: HttpRequest, row: Any, current: str) -> dict[str, Any]:
        """Return what stands above each page about the row; `current`: the page's name."""
        pages = [page for page in self.row_pages if page.tab]
        shown = [page for page in pages if page.offered(row) and self.may_do(request, page, row)]
        tabs = [
            (OVERVIEW, "Overview", self.page_url(row)),
            *((page.name, page.label, self.address_of(page, row)) for page in shown),
            (SETTINGS, self.settings_label, self._url(SETTINGS, row)),
            (HISTORY, "History", self._url(HISTORY, row)),
        ]
        named = [{"label": label, "url": url, "current": name == current} for name, label, url in tabs]
        return {**super().around(request, row, current), "row_tabs": named}

    # --- Django's own pages -------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Who may only look has the overview."""
        row = self.get_object(request, object_id)
        looks = row is not None and request.method != "POST" and self.has_view_permission(request, row)
        if looks and not self.has_change_permission(request, row):
            return HttpResponseRedirect(self.page_url(row))
        shown: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return shown

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None and row.pk:
            context |= self.around(request, row, "change")
        # Not ActionsAdmin's, which puts buttons and panels there.
        return super(ActionsAdmin, self).render_change_form(request, context, *args, **kwargs)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self.page_url(obj))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self._within(request, super().history_view(request, object_id, extra_context), HISTORY)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self._within(request, super().delete_view(request, object_id, extra_context), "delete")

    def _within(self, request: HttpRequest, shown: HttpResponse, name: str) -> HttpResponse:
        known = shown.context_data if isinstance(shown, TemplateResponse) else None
        if known and (row := known.get("object")) is not None:
            known |= self.around(request, row, name)
        return shown

    # --- the two pages ------------------------------------------------------------------------------

    def _read(self, view: Any, name: str) -> Any:
        def read(request: HttpRequest, object_id: Any) -> HttpResponseBase:
            row = self._row(request, str(object_id), Page(name, "", ""))
            known = self.admin_site.each_context(request) | self.around(request, row, name)
            shown: HttpResponseBase = view(request, row, known | {"title": str(row)})
            return shown

        return self.admin_site.admin_view(require_safe(read))

    def _overview(self, request: HttpRequest, row: Any, known: dict[str, Any]) -> HttpResponseBase:
        known |= self.shown_for(request, row)
        if self.has_change_permission(request, row):
            known["edit_url"] = reverse(f"admin:{self._address('change')}", args=[row.pk])
        known |= {"described": self.described(row)} | self.about(request, row)
        return TemplateResponse(request, self.overview_template, known)

    def _settings(self, request: HttpRequest, row: Any, known: dict[str, Any]) -> HttpResponseBase:
        known |= {"sections": self.sections(request, row), "described": self.described(row)}
        return TemplateResponse(request, "pagekit/settings.html", known)

    def sections(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return what the form's sections hold that is not empty, and belongs to the row as it is."""
        found = []
        for title, options in self.get_fieldsets(request, row):
            names = [name for name in flatten(options["fields"]) if self._applies(name, row)]
            values = [self._value(name, row) for name in names]
            if shown := [value for value in values if value["text"] or value["code"]]:
                found.append({"title": title, "values": shown})
        return found

    def _applies(self, name: str, row: Any) -> bool:
        try:
            self.opts.get_field(name)
        except FieldDoesNotExist:  # of the form alone
            return False
        condition = self.conditional_fields.get(name)
        return condition is None or bool(condition.holds(row))

    def _value(self, name: str, row: Any) -> dict[str, Any]:
        """Return a field's label and value: a text, or code."""
        value: Any = getattr(row, name)
        text, code = "", ""
        if isinstance(value, dict | list):
            code = json.dumps(value, indent=2, ensure_ascii=False) if value else ""
        elif isinstance(value, bool):
            text = "Yes" if value else "No"
        elif hasattr(value, "reveal"):
            text = "Set" if value else ""
        elif value is not None:
            shown = getattr(row, f"get_{name}_display", None)
            text = str(shown() if shown else value)
        if "\n" in text:
            text, code = "", text
        return {"label": label_for_field(name, self.model, self), "text": text, "code": code}
