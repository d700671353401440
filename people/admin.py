"""Who is sent nowhere, in the admin: the list, putting people on it, taking them off."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from events.tables import InvalidTable
from pagekit.identifiers import InvalidIdentifier
from people import suppression
from people.erasing import ask, certificate_of
from people.forms import ErasureForm, SuppressForm
from people.identifiers import Kind, digests_of
from people.models import Erasure, Suppression
from people.profile_admin import ProfileImportAdmin
from people.suppression import Entry, InvalidEntry

__all__ = ["ErasureAdmin", "ProfileImportAdmin", "SuppressionAdmin"]


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

    @admin.action(description="Take off the list", permissions=["lift"])
    def take_off(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        self._lift(request, queryset, at_once=False)

    @admin.action(description="Take off the list, and send them at once", permissions=["lift"])
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


@admin.register(Erasure)
class ErasureAdmin(ModelAdmin):
    list_display = ["__str__", "show_state", "reference", "asked_by", "asked_at", "finished_at"]
    list_filter = ["state"]
    search_fields = ["=user_id", "reference", "=digest"]
    search_help_text = "A user id that is not erased yet, exactly; a reference, or a keyed hash."
    ordering = ["-pk"]
    form = ErasureForm
    add_fieldsets = [(None, {"fields": ["user_id", "reference", "sure"]})]
    fields = ["show_state", "show_waits", "reference", "asked_by", "asked_at", "finished_at", "digest"]

    def get_fieldsets(self, request: HttpRequest, obj: Erasure | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Erasure | None = None) -> list[str]:
        return ["show_certificate", *self.fields] if obj else []

    def get_fields(self, request: HttpRequest, obj: Erasure | None = None) -> list[str]:
        return ["show_certificate", *self.fields]

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Certificates stay."""
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.certificate)
        name = "people_erasure_certificate"
        return [path("<int:pk>/certificate/", view, name=name), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Erasure, form: Any, change: bool) -> None:
        asked = ask(obj.user_id, by=request.user.get_username(), reference=obj.reference)
        obj.pk, obj._state.adding = asked.pk, False

    def log_addition(self, request: HttpRequest, obj: Erasure, message: Any) -> Any:
        return super().log_addition(request, obj, "Asked for.")

    def response_add(
        self, request: HttpRequest, obj: Erasure, post_url_continue: str | None = None
    ) -> HttpResponse:
        said = "They are suppressed, and erased when every partner has let go; this page says how far."
        messages.success(request, said)
        return HttpResponseRedirect(reverse("admin:people_erasure_change", args=[obj.pk]))

    def certificate(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        erasure = Erasure.objects.filter(pk=pk).first()
        if erasure is None:
            raise Http404
        name = f'attachment; filename="erasure-{pk}.json"'
        indented = {"indent": 2, "ensure_ascii": False}
        return JsonResponse(
            certificate_of(erasure), json_dumps_params=indented, headers={"Content-Disposition": name}
        )

    @display(description="State", label={"Erased": "success", "Waiting": "warning"})
    def show_state(self, erasure: Erasure) -> str:
        return erasure.get_state_display()

    @display(description="Waits for")
    def show_waits(self, erasure: Erasure) -> SafeString | str:
        if not erasure.waits:
            return "nothing" if erasure.finished_at else "the worker"
        return format_html(
            "<ul>{}</ul>", format_html_join("", "<li>{}</li>", ([one] for one in erasure.waits))
        )

    @display(description="Certificate")
    def show_certificate(self, erasure: Erasure) -> SafeString:
        url = reverse("admin:people_erasure_certificate", args=[erasure.pk])
        return format_html(
            '<a class="text-primary-600 underline dark:text-primary-500" href="{}">Download (JSON)</a>', url
        )
