"""The admin site: every list of it is paged in a way that stays quick when the list is long."""

from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from unfold.sites import UnfoldAdminSite

from cohortsite.proposes_instead import MayPropose
from cohortsite.stale_forms import TellsOfOtherChanges
from pagekit.lists import GlanceAdmin

# Of a list that is longer, "more than" so many rows are told; page by page one gets behind them.
MOST = 10_000

# What changes by proposals, with the setting FOUR_EYES.
PROPOSED = ("cohorts.cohort", "destinations.destination", "events.namerule")


class KeysFirst(Paginator):  # type: ignore[type-arg]
    """Finds a page by its rows' keys and reads only these rows whole, with what they are joined to.

    Otherwise the database carries the columns of all joined tables past every row of the earlier pages.
    """

    object_list: Any  # a queryset

    def page(self, number: int | str) -> Page:  # type: ignore[type-arg]
        page: Any = super().page(number)
        keys = list(page.object_list.values_list("pk", flat=True))
        page.object_list = self.object_list.filter(pk__in=keys)
        return page  # type: ignore[no-any-return]


class InfinitePaginator(KeysFirst):
    """Counts at most MOST rows, or so many behind the page that is asked for.

    The name is one that unfold knows: it leaves the number out at the head of the page, where it could not
    say "more than".
    """

    template_name = "cohortsite/pagination.html"

    @cached_property
    def count(self) -> int:
        return self._counted(MOST)

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than `count` says."""
        return self._is_cut

    _is_cut = False

    def validate_number(self, number: int | float | str) -> int:
        try:
            asked = int(number)
        except (TypeError, ValueError):
            asked = 0
        if self.count and self._is_cut and asked * self.per_page >= self.count:
            self.count = self._counted(asked * self.per_page + MOST)
            self.__dict__.pop("num_pages", None)
        return super().validate_number(number)

    def _counted(self, most: int) -> int:
        found: int = self.object_list.order_by()[: most + 1].count()
        self._is_cut = found > most
        return min(found, most)


class Site(UnfoldAdminSite):  # type: ignore[misc]
    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Each page knows the document that is about it, and where its reader is in the tour."""
        from cohortsite import tour
        from cohortsite.help import about

        known: dict[str, Any] = super().each_context(request)
        return known | {"help_url": about(request.path), "tour": tour.around(request)}

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """What the field in the sidebar finds: a part of the page, or without JavaScript a page."""
        # Here: the models are not there yet when the site is made.
        from cohortsite.finding import find

        results = find(request, request.GET.get("s", ""))
        if "part" in request.GET:
            return TemplateResponse(request, "cohortsite/found.html", {"results": results})
        context = {**self.each_context(request), "title": "Found", "results": results}
        return TemplateResponse(request, "cohortsite/find.html", context)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Give each list its paginator, and each form whose changes are recorded a word on other people's.

        A list with actions tells exactly how many rows "select all" means.
        """
        if isinstance(admin_class, type) and issubclass(admin_class, GlanceAdmin):
            # Here: models are not there yet when the site is made.
            from cohortsite.list_views import KeepsViews

            admin_class = type(admin_class.__name__, (KeepsViews, admin_class), {})
        exact = admin_class is None or admin_class.show_full_result_count or admin_class.actions
        exact = exact or getattr(admin_class, "bulk", ())
        models: list[Any] = (
            [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        )
        if admin_class is not None and all(hasattr(model, "history") for model in models):
            admin_class = type(admin_class.__name__, (TellsOfOtherChanges, admin_class), {})
        if admin_class is not None and all(model._meta.label_lower in PROPOSED for model in models):
            admin_class = type(admin_class.__name__, (MayPropose, admin_class), {})
        options.setdefault("paginator", KeysFirst if exact else InfinitePaginator)
        super().register(models, admin_class, **options)
