"""A line of a cohort's latest sizes, for the list of cohorts."""

from collections import defaultdict
from collections.abc import Sequence

from django.db.models import F
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion

VERSIONS = 30
WIDTH, HEIGHT = 120, 24


def trends(cohorts: Sequence[Cohort]) -> dict[int, SafeString]:
    """Return each cohort's sizes over its latest versions as an SVG. One query, by the versions' index."""
    found = CohortVersion.objects.filter(
        cohort__in=[cohort.pk for cohort in cohorts],
        number__gt=F("cohort__version") - VERSIONS,
        state=VersionState.PUBLISHED,
    )
    sizes: dict[int, list[int]] = defaultdict(list)
    for pk, size in found.order_by("cohort", "number").values_list("cohort", "size"):
        sizes[pk].append(size)
    return {cohort.pk: line_of(sizes[cohort.pk]) for cohort in cohorts}


def line_of(sizes: Sequence[int]) -> SafeString:
    """Return a line from the oldest size to the newest; a dash of fewer than two."""
    if len(sizes) < 2:
        return mark_safe("–")
    least, most = min(sizes), max(sizes)
    step, scale = WIDTH / (len(sizes) - 1), (HEIGHT - 2) / ((most - least) or 1)
    points = " ".join(
        f"{n * step:.1f},{HEIGHT - 1 - (size - least) * scale:.1f}" for n, size in enumerate(sizes)
    )
    said = f"{sizes[0]:,} to {sizes[-1]:,} users in {len(sizes)} versions"
    return format_html(
        '<svg class="cs-spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>'
        '<polyline points="{}"/></svg>',
        WIDTH, HEIGHT, said, said, points,
    )  # fmt: skip
