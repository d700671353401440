"""Who is sent nowhere, in the admin: the list, putting people on it, taking them off."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from events.tables import InvalidTable
from people import suppression
from people.forms import SuppressForm
from people.identifiers import InvalidIdentifier, Kind, digests_of
from people.models import Suppression
from people.suppression import Entry, InvalidEntry


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"
    QUERIES = {
        "active": ("Suppressed", Q(active=True)),
        "later": ("From a later time", Q(active=False, lifted_at=None, since__gt=Now())),
        "over": ("Over", Q(active=False, lifted_at=None, since__lte=Now())),
        "lifted": ("Taken off", Q(lifted_at__isnull=False)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in self.QUERIES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> QuerySet[Suppression]:
        chosen = self.value()
        return queryset.filter(self.QUERIES[chosen][1]) if chosen in self.QUERIES else queryset


@admin.register(Suppression)
class SuppressionAdmin(ModelAdmin):
    list_display = ["show_person", "kind", "show_state", "reason", "source", "since", "until"]
    list_display_links = None
    list_filter = [StateFilter, "kind"]
    search_fields = ["value"]
    search_help_text = "A whole user id, e-mail address, telephone number or hash."
    ordering = ["-pk"]
    show_full_result_count = False
    actions = ["take_off", "take_off_at_once"]

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nothing is edited: whoever is put on the list again has what is said then."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("people.change_suppression"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        """Find a person by what is hashed here, too: the list keeps no address."""
        term = search_term.strip()
        if not term or "\0" in term:
            return (queryset.none() if term else queryset), False
        wanted = Q(value=term) | Q(value=search_term)
        for kind in (Kind.EMAIL, Kind.PHONE):
            try:
                wanted |= Q(kind=kind, value__in=digests_of(kind, term))
            except InvalidIdentifier:
                continue
        return queryset.filter(wanted), False

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = SuppressForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                new = form.save(request.user.get_username())
            except (InvalidEntry, InvalidTable) as error:
                form.add_error("file" if form.cleaned_data["file"] else "people", str(error))
            else:
                when = "at once" if form.cleaned_data["at_once"] else "with the next run of each sync"
                said = f"{new:,} {'person is' if new == 1 else 'people are'} new on the list. Partners lose"
                messages.success(request, f"{said} whom they hold {when}.")
                return HttpResponseRedirect(reverse("admin:people_suppression_changelist"))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form}
        return TemplateResponse(request, "people/suppress.html", context | {"title": "Suppress people"})

    @action(description="Take off the list", permissions=["lift"])
    def take_off(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        self._lift(request, queryset, at_once=False)

    @action(description="Take off the list, and send them at once", permissions=["lift"])
    def take_off_at_once(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        self._lift(request, queryset, at_once=True)

    def _lift(self, request: HttpRequest, queryset: QuerySet[Suppression], *, at_once: bool) -> None:
        rows = queryset.order_by().values_list("kind", "value").iterator()
        lifted = suppression.lift((Entry(*row) for row in rows), at_once=at_once)
        people = "person was" if lifted == 1 else "people were"
        back = "They come back to the cohorts that name them; partners get them"
        when = "at once" if at_once else "with the next run of each sync"
        messages.success(request, f"{lifted:,} {people} taken off the list. {back} {when}.")

    @display(description="Person", ordering="value")
    def show_person(self, row: Suppression) -> str:
        return str(row)

    @display(
        description="State",
        label={
            "Suppressed": "danger",
            "From a later time": "info",
            "Over": "default",
            "Taken off": "default",
        },
    )
    def show_state(self, row: Suppression) -> str:
        return suppression.state_of(row)
