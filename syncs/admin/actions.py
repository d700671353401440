"""What a person can do to a row: a button that posts, or a page that asks first and then posts.

unfold's own actions are links, which a prefetching browser or a forged page could follow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods
from unfold.admin import ModelAdmin

from pagekit.read_only import ReadOnlyAdmin
from syncs.lifecycle import CannotRun

# Whoever has it may run, stop, pause and resume syncs, and decide about rejected users.
MAY_RUN = "syncs.run_sync"
# The length of a sync's external name.
LONGEST = 500


Words = str | Callable[[Any], str]


class But(str):
    """What is said of an action that was done and yet does not lead to what the person wants."""


@dataclass(frozen=True, slots=True)
class Action:
    """`perform` is given the row and the person's name, and returns what to say; CannotRun says why not.

    `text`: the label of a text that the page asks for, '' for none; it is `perform`'s third argument, and
    begins with what `initial` returns.
    `question`: what a page asks before it is done; '' does it at once. `consequence`: what then happens, with
    the numbers and the partner of the row. Both are texts, or are made of the row. `instead`: another action
    that the page offers alongside this one. `offered`: whether it makes sense for the row as it is.
    """

    name: str
    label: str
    icon: str
    perform: Callable[..., str]
    offered: Callable[[Any], bool] = lambda row: True
    question: Words = ""
    consequence: Words = ""
    instead: str = ""
    permission: str = MAY_RUN
    variant: str = "default"
    text: str = ""
    initial: Callable[[Any], str] = lambda row: ""

    def asking(self, row: Any, *, whole: bool) -> "Action":
        """Return it with the question of this row; `whole`: with what then happens, which may be queried."""
        consequence = _words(self.consequence, row) if whole else ""
        return replace(self, question=_words(self.question, row), consequence=consequence)

    @property
    def page_variant(self) -> str:
        """The button on the row's page is red only where it does the action, on the page that asks."""
        return "default" if self.variant == "danger" else self.variant


class ActionsAdmin(ModelAdmin):
    """An admin whose rows have actions: their addresses, their pages, and who may do them."""

    row_actions: tuple[Action, ...] = ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.do_view))
        return [path("<path:object_id>/do/<slug:name>/", view, name=self._do_name()), *super().get_urls()]

    def actions_for(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the actions that this person can do to this row now, with their addresses."""
        return [
            {
                "action": action.asking(row, whole=False),
                "url": self._do_url(row, action.name),
                "page_variant": action.page_variant,
            }
            for action in self.row_actions
            if action.offered(row) and request.user.has_perm(action.permission)
        ]

    def do_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """GET asks, POST does."""
        action = next((action for action in self.row_actions if action.name == name), None)
        if action is None:
            raise Http404
        if not (self.has_view_permission(request) and request.user.has_perm(action.permission)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if request.method == "POST":
            return self._do(request, action, row)
        return TemplateResponse(request, "syncs/ask.html", self._asking(request, action, row))

    def page_url(self, row: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def _do(self, request: HttpRequest, action: Action, row: Any) -> HttpResponse:
        if not action.offered(row):
            messages.error(
                request, f"“{action.label}” is not possible any more: things have changed meanwhile."
            )
            return HttpResponseRedirect(self.page_url(row))
        try:
            given = [_text(request)] if action.text else []
            said = action.perform(row, request.user.get_username(), *given)
        except CannotRun as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, row, f"{action.label}: {said}")
            tell = messages.warning if isinstance(said, But) else messages.success
            tell(request, str(said))
        return HttpResponseRedirect(self.page_url(row))

    def _asking(self, request: HttpRequest, action: Action, row: Any) -> dict[str, Any]:
        instead = [
            offer for offer in self.actions_for(request, row) if offer["action"].name == action.instead
        ]
        return {
            **self.admin_site.each_context(request),
            "title": action.label,
            "opts": self.opts,
            "original": row,
            "action": action.asking(row, whole=True),
            "offered": action.offered(row),
            "text": action.initial(row) if action.text else "",
            "instead": instead,
            "back": self.page_url(row),
        }

    def _do_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_do"

    def _do_url(self, row: Any, name: str) -> str:
        return reverse(f"admin:{self._do_name()}", args=[row.pk, name])


def _words(words: Words, row: Any) -> str:
    return words if isinstance(words, str) else words(row)


def _text(request: HttpRequest) -> str:
    """Return the text that the page asked for; CannotRun if it is no line of text."""
    text = request.POST.get("text", "").strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        raise CannotRun(f"Give a line of 1 to {LONGEST} characters.")
    return text


class HistoryAdmin(ReadOnlyAdmin, ActionsAdmin):
    """History: nobody adds, changes or deletes a row, whatever their permissions; a page shows it."""

    page_template = ""
    show_full_result_count = False

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
            "row_actions": self.actions_for(request, row),
            **self.page_context(request, row),
        }
        return TemplateResponse(request, self.page_template, context)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page's template shows, alongside the row and its actions."""
        return {}
