"""What is done with several rows of a list at once: it says what it will do, asks, and says what it did.

bulk = (Bulk("run", "Run now", …),)     of an ActionsAdmin
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import helpers
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from pagekit.actions import LONGEST, Action, ActionsAdmin, Person

# Rows at once: a page must answer. Rows that a page names, and reasons that a message names.
MOST, NAMED = 500, 50
CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Bulk:
    """`perform` is given a row, the Person and what `form` was filled in with, and raises one of the admin's
    refusals with the reason why not. `consequence`: what then happens to these rows, with numbers.
    `offered`: whether it makes sense for a row as it is.
    """

    name: str
    label: str
    perform: Callable[[Any, Person, dict[str, Any]], str]
    consequence: Callable[[Sequence[Any]], str]
    permission: str
    offered: Callable[[Any], bool] = lambda row: True
    form: type[forms.Form] | None = None
    variant: str = "primary"


class ReasonForm(forms.Form):
    """Why, in words that others read."""

    reason = forms.CharField(label="Why", max_length=LONGEST, widget=UnfoldAdminTextInputWidget())


def several(
    action: Action,
    consequence: Callable[[Sequence[Any]], str],
    *,
    offered: Callable[[Any], bool] = lambda row: True,
) -> Bulk:
    """Return a row's action for several rows; `offered`: what must hold besides what the action asks for."""
    return Bulk(
        action.name,
        action.label,
        lambda row, by, given: action.perform(row, by),
        consequence,
        action.permission,
        offered=lambda row: action.offered(row) and offered(row),
    )


class BulkAdmin(ActionsAdmin):
    """An admin of whose list several rows can be chosen for one of `bulk`."""

    bulk: tuple[Bulk, ...] = ()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        for one in self.bulk:
            if request.user.has_perm(one.permission):
                actions[one.name] = (self._asking_first(one), one.name, f"{one.label} …")
        return actions

    def _asking_first(self, bulk: Bulk) -> Callable[[Any, HttpRequest, Any], HttpResponse | None]:
        def act(admin: Any, request: HttpRequest, chosen: Any) -> HttpResponse | None:
            rows = list(chosen[: MOST + 1])
            if len(rows) > MOST:
                messages.error(request, f"At most {MOST} at once: filter the list, and do it in parts.")
                return None
            confirmed = CONFIRMED in request.POST
            form = bulk.form(request.POST if confirmed else None) if bulk.form else None
            if confirmed and (form is None or form.is_valid()):
                self._do_each(request, bulk, rows, form.cleaned_data if form else {})
                return HttpResponseRedirect(request.get_full_path())
            return self._ask(request, bulk, rows, form)

        return act

    def _ask(
        self, request: HttpRequest, bulk: Bulk, rows: list[Any], form: forms.Form | None
    ) -> HttpResponse:
        fit = [row for row in rows if bulk.offered(row)]
        context = {
            **self.admin_site.each_context(request),
            "title": bulk.label,
            "opts": self.opts,
            "bulk": bulk,
            "form": form,
            "rows": fit[:NAMED],
            "more": max(len(fit) - NAMED, 0),
            "number": len(fit),
            "others": [row for row in rows if not bulk.offered(row)][:NAMED],
            "consequence": bulk.consequence(fit) if fit else "",
            "keys": [row.pk for row in rows],
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
            "confirmed": CONFIRMED,
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "pagekit/ask_many.html", context)

    def _do_each(self, request: HttpRequest, bulk: Bulk, rows: list[Any], given: dict[str, Any]) -> None:
        """Do it to each row by itself: one that cannot be done keeps no other from it."""
        by = Person(request.user.get_username())
        by.address = request.META.get("REMOTE_ADDR", "")
        done, not_done = 0, []
        for row in rows:
            try:
                if not bulk.offered(row):
                    continue
                said = bulk.perform(row, by, given)
            except self.refusals as error:
                not_done.append(f"{row}: {error}")
            else:
                self.log_change(request, row, f"{bulk.label}: {said}")
                done += 1
        words = f"{bulk.label}: done for {done:,} of {len(rows):,}."
        (messages.success if done else messages.warning)(request, words)
        for reason in not_done[:NAMED]:
            messages.error(request, reason)
