"""The page that shows how cohorts overlap: /admin/cohorts/cohort/overlap/?cohort=KEY&cohort=KEY."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode

from cohorts.models import Cohort
from cohorts.overlap import MOST_COHORTS, CannotCompare, Overlap, overlap_of

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

# Of more cohorts than these, people find one by the list of cohorts.
MOST_OFFERED = 500


@dataclass(frozen=True)
class Row:
    """A combination: for each cohort whether it is in; how many; the length of its bar in percent."""

    inside: list[bool]
    words: str
    count: int
    share: float
    bar: float


def rows_of(found: Overlap) -> list[Row]:
    most = max((part.count for part in found.parts), default=1)
    names = {cohort.key: cohort.name for cohort in found.cohorts}
    return [
        Row(
            [cohort.key in part.inside for cohort in found.cohorts],
            _words([names[key] for key in part.inside], len(found.cohorts)),
            part.count,
            100 * part.count / found.anybody,
            100 * part.count / most,
        )
        for part in found.parts
    ]


def _words(names: list[str], of: int) -> str:
    if len(names) == of:
        return "All of them"
    return f"Only {names[0]}" if len(names) == 1 else " and ".join([", ".join(names[:-1]), names[-1]])


def pairs_of(found: Overlap) -> list[tuple[Cohort, list[float | None]]]:
    """Return for each cohort, which share of it is in each other one, in percent; None for itself."""
    return [
        (
            one,
            [
                None if one == other else 100 * found.size(one.key, other.key) / max(1, found.size(one.key))
                for other in found.cohorts
            ],
        )
        for one in found.cohorts
    ]


def overlap_page(admin: ModelAdmin[Cohort], request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("cohorts.view_cohort"):
        raise PermissionDenied
    keys = [key.replace("\0", "") for key in request.GET.getlist("cohort") if key][: MOST_COHORTS + 1]
    known = {cohort.key: cohort for cohort in Cohort.objects.filter(key__in=keys)}
    shown: dict[str, Any] = {"found": None, "error": ""}
    chosen = [known[key] for key in dict.fromkeys(keys) if key in known]
    if unknown := [key for key in keys if key not in known]:
        shown["error"] = f"There is no cohort {unknown[0]}."
    elif keys:
        try:
            found = overlap_of(chosen)
            shown |= {"found": found, "rows": rows_of(found), "pairs": pairs_of(found)}
        except CannotCompare as error:
            shown["error"] = str(error)
    request.current_app = admin.admin_site.name
    context = {
        **admin.admin_site.each_context(request),
        "title": "Overlap of cohorts",
        "opts": Cohort._meta,
        "offered": Cohort.objects.order_by("name").values_list("key", "name")[:MOST_OFFERED],
        "slots": [chosen[n].key if n < len(chosen) else "" for n in range(MOST_COHORTS)],
        **shown,
    }
    return TemplateResponse(request, "cohorts/overlap.html", context)


def go_to_overlap(admin: ModelAdmin[Cohort], request: HttpRequest, chosen: Any) -> HttpResponse | None:
    """The action of the list: show how the chosen cohorts overlap."""
    keys = list(chosen.order_by("name").values_list("key", flat=True)[: MOST_COHORTS + 1])
    if not 2 <= len(keys) <= MOST_COHORTS:
        messages.warning(request, f"Choose two to {MOST_COHORTS} cohorts to see how they overlap.")
        return None
    return HttpResponseRedirect(f"{reverse('admin:cohorts_overlap')}?{urlencode({'cohort': keys}, True)}")
