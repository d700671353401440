"""Taking one person out everywhere: onto the list of suppressed people, and off every partner at once.

Asked from "Where is user X?" and from the search; says first which partners it concerns.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminTextInputWidget

from people import suppression
from people.identifiers import Kind, kind_of
from people.suppression import InvalidEntry, Said, entry_of
from syncs.erase import holders_of

PERMISSION = "people.add_suppression"
FORGETS = "people.add_erasure"


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why",
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="It stays on the list of suppressed people: opted out by phone, test account.",
    )


def offered(request: HttpRequest, user_id: str) -> dict[str, str]:
    """Return where this person may take a user out, and erase them; '' where they may not."""
    may = request.user.has_perm
    return {
        "take_out_url": f"{reverse('take-out')}?{urlencode({'user': user_id})}" if may(PERMISSION) else "",
        "forget_url": f"{reverse('admin:people_erasure_add')}?{urlencode({'user_id': user_id})}"
        if may(FORGETS)
        else "",
    }


def page(request: HttpRequest) -> HttpResponse:
    """GET /admin/where/take-out/?user=ID asks; POST does."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    typed = request.GET.get("user", "")
    back = f"{reverse('where')}?{urlencode({'user': typed})}"
    kind = kind_of(typed)
    try:
        entry = entry_of(kind, typed)
    except InvalidEntry as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("where"))
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        source = f"browser by {request.user.get_username()}"[:200]
        new = suppression.add([entry], Said(form.cleaned_data["reason"], source, at_once=True))
        if new or suppression.among([typed]):
            messages.success(request, "Taken out: within seconds no cohort has them, and partners lose them.")
        else:
            messages.warning(
                request, "Nothing to do: they were erased before, and no cohort takes them again."
            )
        return HttpResponseRedirect(back)
    return TemplateResponse(request, "cohortsite/take_out.html", _asking(request, typed, kind, form, back))


def _asking(request: HttpRequest, typed: str, kind: Kind, form: ReasonForm, back: str) -> dict[str, Any]:
    holders = holders_of(typed)
    return {
        **admin.site.each_context(request),
        "title": "Take out everywhere",
        "person": typed,
        "by_identifier": "" if kind == Kind.USER_ID else kind.label.lower(),
        "holders": holders,
        "partners": len({sync.destination_id for sync, _ in holders}),
        "suppressed": bool(suppression.among([typed])),
        "form": form,
        "back": back,
    }
