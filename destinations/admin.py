"""Destinations in the admin: presets, the form, pause and resume, and the test request."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.decorators import display

from destinations import try_out
from destinations.forms import DestinationForm, GalleryForm, SideBySideForm, TestRequestForm
from destinations.models import LIST_FIELDS, MAPPING_FIELDS, PROPERTY_FIELDS, Destination
from destinations.partners.folder import Partner
from destinations.payloads import Operation
from destinations.presets import PRESETS
from destinations.secrets import SecretUnreadable
from destinations.side_by_side import side_by_side
from destinations.transport import describe
from pagekit import approval, way
from pagekit.actions import Action, Page, Refused
from pagekit.bulk import Bulk, BulkAdmin, ReasonForm
from pagekit.lists import GlanceAdmin
from pagekit.overview import OverviewAdmin
from pagekit.shown_if import shown_if
from pagekit.times import moment_of

# In a person's session: the last test request, and the reply.
SENT = "destinations.sent"
LISTS = ("list_id_from", "list_id_place", "given_lists", "replaces_lists", "find_path", "find_places")
IS_LIST = shown_if(kind="list")
IS_PROPERTY = shown_if(kind="property")


Fieldsets = list[tuple[str | None, dict[str, Any]]]


def _needed_first(sets: Fieldsets, partner: Partner, obj: Destination | None) -> Fieldsets:
    """Ask for what this partner needs; all else is *Advanced*, and says what differs from its folder."""
    needed = {"base_url", "confirm_move", "clear_credential", *partner.needs}
    needed |= {"new_secrets"} if partner.secrets else set()
    # Who speaks to something of their own writes its requests.
    stays = (None, "Paused") if partner.slug != "custom" else (None, "Paused", "Credential", "Requests")
    shown = [name for _, options in sets for name in options["fields"] if name in needed]
    differ = set(partner.differences({name: getattr(obj, name) for name in partner.fields} if obj else {}))
    made: Fieldsets = []
    for title, options in sets:
        left = tuple(name for name in options["fields"] if name not in needed)
        if title in stays:
            made.append((title, {**options, "fields": left}))
            continue
        own = [name.replace("_", " ") for name in left if name in differ]
        said = {"description": f"Differs from the partner's folder: {', '.join(own)}."} if own else {}
        made.append((f"Advanced: {str(title).lower()}", {"fields": left, "classes": ["collapse"], **said}))
    about = " ".join(filter(None, (partner.hint, partner.notes, partner.impossible)))
    made.insert(1, (f"What {partner.label} needs", {"fields": tuple(shown), "description": about}))
    return [(title, options) for title, options in made if options["fields"]]


def _stand_ins(destination: Destination) -> list[str]:
    partner = PRESETS.get(destination.preset)
    return partner.stand_ins({name: getattr(destination, name) for name in partner.fields}) if partner else []


# --- what is done with one -------------------------------------------------------------------------

MAY_PAUSE, MAY_CHANGE = "destinations.pause_destination", "destinations.change_destination"


def _pause(destination: Destination, by: str, reason: str) -> str:
    if not Destination.objects.pause(destination.pk, f"{reason} ({by})"):
        raise Refused("It was paused already.")
    return f"{destination} is paused: {reason}"


def _pause_until(destination: Destination, by: str, text: str) -> str:
    try:
        until = moment_of(text)
    except ValueError as error:
        raise Refused(str(error)) from None
    if until <= timezone.now():
        raise Refused("This time is over.")
    shown = f"{timezone.localtime(until):%Y-%m-%d %H:%M %Z}"
    if not Destination.objects.pause(destination.pk, f"Until {shown} ({by})", until):
        raise Refused("It was paused already.")
    return f"{destination} is paused until {shown}, and goes on by itself then."


def _tomorrow(destination: Destination) -> str:
    return f"{timezone.localtime() + timedelta(days=1):%Y-%m-%d} 09:00"


def _resume(destination: Destination, by: str) -> str:
    if not Destination.objects.resume(destination.pk):
        raise Refused("It was not paused.")
    return f"{destination} is resumed: its syncs go on at their next turn."


PAGES = (
    Page(
        "test-request",
        "Send a test request",
        "send",
        "test_request",
        permission=MAY_CHANGE,
        methods=("GET", "HEAD", "POST"),
        tab=True,
    ),
    Page(
        "certify",
        "Certify",
        "verified",
        "certify",
        permission=MAY_CHANGE,
        # Each check adds or removes users, and looks at once.
        offered=lambda destination: not (destination.replaces_lists or destination.poll_path),
        methods=("GET", "HEAD", "POST"),
        tab=True,
    ),
)
ACTIONS = (
    Action(
        "pause",
        "Pause",
        "pause",
        _pause,
        lambda destination: not destination.is_paused,
        question="Pause this destination?",
        consequence="Its syncs send nothing until somebody resumes it.",
        instead="pause-until",
        text="Why",
        permission=MAY_PAUSE,
    ),
    Action(
        "pause-until",
        "Pause until",
        "pause_circle",
        _pause_until,
        lambda destination: not destination.is_paused,
        question="Pause this destination until when?",
        consequence="Its syncs send nothing until then, and go on by themselves at their next turn.",
        text="Until, in the time zone of this page",
        initial=_tomorrow,
        permission=MAY_PAUSE,
    ),
    Action(
        "resume",
        "Resume",
        "play_arrow",
        _resume,
        lambda destination: destination.is_paused,
        question="Resume this destination?",
        consequence="Its syncs go on at their next turn.",
        permission=MAY_PAUSE,
        variant="primary",
    ),
)


BULK = (
    Bulk(
        "pause_selected",
        "Pause",
        lambda destination, by, given: _pause(destination, by, given["reason"]),
        lambda rows: f"The syncs of these {len(rows)} send nothing until somebody resumes them.",
        MAY_PAUSE,
        offered=lambda destination: not destination.is_paused,
        form=ReasonForm,
    ),
    Bulk(
        "resume_selected",
        "Resume",
        lambda destination, by, given: _resume(destination, by),
        lambda rows: f"The syncs of these {len(rows)} go on at their next turn.",
        MAY_PAUSE,
        offered=lambda destination: destination.is_paused,
    ),
)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("sending", "Active"), ("paused", "Paused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Destination]) -> QuerySet[Destination]:
        if self.value() is None:
            return queryset
        return queryset.filter(paused_at__isnull=self.value() == "sending")


@admin.register(Destination)
class DestinationAdmin(OverviewAdmin, BulkAdmin, GlanceAdmin):
    overview_template = "destinations/overview.html"
    form = DestinationForm
    change_form_template = "destinations/destination.html"
    list_display = ("label", "state", "partner", "kind_label", "host", "has_credential", "updated_at")
    hidden_columns = ("partner", "kind_label", "has_credential", "updated_at")
    list_fullwidth = True
    list_display_links = ("label",)
    list_filter = (StateFilter, "kind", "preset")
    search_fields = ("name", "title", "base_url")
    bulk = BULK
    row_actions = ACTIONS
    row_pages = PAGES
    readonly_fields = ("paused_at", "pause_reason")
    warn_unsaved_form = True
    conditional_fields = {
        "delivery": IS_PROPERTY,
        "auth_username": shown_if(auth_mode="basic"),
        "auth_header": shown_if(auth_mode="header"),
        "oauth": shown_if(auth_mode="oauth2"),
        **dict.fromkeys((*LIST_FIELDS, "list_item_template", *LISTS), IS_LIST),
        **dict.fromkeys((*PROPERTY_FIELDS, "message_ids", "value_words"), IS_PROPERTY),
    }

    class Media:
        js = ("destinations/preset.js", "destinations/side_by_side.js")

    def get_fieldsets(self, request: HttpRequest, obj: Destination | None = None) -> Any:
        where: tuple[str, ...] = ("base_url", "kind", "delivery")
        credential: tuple[str, ...] = ("auth_mode", "auth_username", "auth_header", "oauth", "credential")
        if obj:
            credential += ("clear_credential",)
            # Asked for only once a change of place was sent in.
            where += ("confirm_move",) if request.method == "POST" else ()
        names = ("source_label", "name_template", "slug_names", "integration_name", "integration_version")
        requests = (
            *LIST_FIELDS,
            "list_item_template",
            *PROPERTY_FIELDS,
            "remove_item_template",
            "change_template",
            "value_words",
        )
        wire = ("methods", "body_format", "gzip", "signature", "idempotency_key", "message_ids")
        pace = ("batch_size", "threads", "max_bytes", "rate", "connect_timeout", "read_timeout", "deadline")
        sets: list[tuple[str | None, dict[str, Any]]] = [
            (None, {"fields": ("name", "title", "preset")}),
            ("Where", {"fields": where}),
            ("Credential", {"fields": (*credential, "new_secrets", "extra_headers")}),
            ("Names", {"fields": names}),
            ("Requests", {"fields": requests}),
            ("How requests are written", {"fields": wire, "classes": ["collapse"]}),
            ("Whom the partner knows people by", {"fields": MAPPING_FIELDS, "classes": ["collapse"]}),
            ("Pace", {"fields": pace}),
            ("Lists", {"fields": LISTS}),
            ("Looking", {"fields": ("test_path", "test_proves", "read_path", "read_places")}),
            ("Accepted requests", {"fields": ("poll_path", "poll_fields")}),
            ("Replies", {"fields": ("rules",)}),
        ]
        if obj and obj.is_paused:
            sets.insert(1, ("Paused", {"fields": ("paused_at", "pause_reason")}))
        slug = obj.preset if obj else request.POST.get("preset") or request.GET.get("preset", "")
        partner = PRESETS.get(slug)
        return _needed_first(sets, partner, obj) if partner else sets

    def about(self, request: HttpRequest, row: Destination) -> dict[str, Any]:
        return {"destination": row, "partner": PRESETS.get(row.preset), "stand_ins": _stand_ins(row)}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.side_by_side_view))
        return [path("side-by-side/", view, name="destinations_side_by_side"), *super().get_urls()]

    def side_by_side_view(self, request: HttpRequest) -> HttpResponse:
        """Show what the destination of the form makes of a user, as a part of its page. Saves nothing."""
        obj = self.get_object(request, request.POST.get("side_by_side_of", ""))
        allowed = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        if not allowed:
            raise PermissionDenied
        form = self.get_form(request, obj)(request.POST, instance=obj)
        form.is_valid()
        about = SideBySideForm(request.POST)
        context = {"about": about, "problems": _problems_of_templates(form), "shown": []}
        if about.is_valid():
            try:
                endpoint = form.instance.endpoint_without_secrets()
                context["shown"] = list(side_by_side(endpoint, **about.cleaned_data))
            except (ValueError, TypeError, AttributeError):
                # A field of another shape than its kind's; its problem is named by the form.
                context["unusable"] = True
        return TemplateResponse(request, "destinations/side_by_side.html", context)

    @display(description="Destination", ordering="name", header=True)
    def label(self, destination: Destination) -> list[str]:
        return [str(destination), destination.name if destination.title else ""]

    @display(description="Partner", ordering="preset")
    def partner(self, destination: Destination) -> str:
        return PRESETS[destination.preset].label if destination.preset in PRESETS else destination.preset

    @display(description="Kind", ordering="kind")
    def kind_label(self, destination: Destination) -> str:
        return destination.kind.capitalize()

    @display(description="State", label={"Active": "success", "Paused": "danger"})
    def state(self, destination: Destination) -> str:
        return "Paused" if destination.is_paused else "Active"

    @display(description="Credential set", boolean=True)
    def has_credential(self, destination: Destination) -> bool:
        return bool(destination.credential)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Let the preset be chosen first; it then fills the form (without JavaScript, too)."""
        if request.method == "GET" and request.GET.get("preset") not in PRESETS:
            if not self.has_add_permission(request):
                raise PermissionDenied
            context = {**self.admin_site.each_context(request), "title": "Add destination"}
            query = request.GET.copy()
            for name in ("preset", "q", "keeps"):
                query.pop(name, None)
            gallery = GalleryForm(request.GET)
            context |= {"opts": self.opts, "presets": gallery.matching(), "form": gallery}
            context["query"] = query.urlencode()
            return TemplateResponse(request, "destinations/choose_preset.html", context)
        response: HttpResponse = super().add_view(request, form_url, extra_context)
        return response

    def response_add(
        self, request: HttpRequest, obj: Destination, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Go on to the test request, which says whether address and credential are right."""
        if {"_addanother", "_continue", "_popup"} & set(request.POST) or not self.has_change_permission(
            request
        ):
            response: HttpResponse = super().response_add(request, obj, post_url_continue)
            return response
        messages.success(request, "The destination is saved. Send a test request to see whether it answers.")
        if left := _stand_ins(obj):
            messages.warning(request, f"Edit it first: put your own name for {', '.join(left)}.")
        test = reverse("admin:destinations_destination_test_request", args=[obj.pk])
        onwards = way.then(request, destination=obj.pk)
        return redirect(way.by_way_of(test, onwards) if onwards else test)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["about"] = SideBySideForm()
        return super().render_change_form(request, context, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        preset = request.GET.get("preset", "custom")
        given = {name: request.GET[name] for name in ("name", "title") if name in request.GET}
        given.setdefault("name", _free_name(preset))
        fields = PRESETS[preset].fields if preset in PRESETS else {}
        return {"preset": preset, **fields, **given}

    def save_model(self, request: HttpRequest, obj: Destination, form: DestinationForm, change: bool) -> None:
        approval.check(obj, request.user)
        if not change:
            obj.save()
        elif columns := form.changed_columns():
            obj.save_fields(columns)

    def test_request(self, request: HttpRequest, destination: Destination) -> HttpResponse:
        """Show the request; send it only by POST, when the button to send was pressed.

        What came of it is shown by the GET that follows, so that a reload sends nothing.
        """
        sent = _sent_before(request, destination)
        form = TestRequestForm(destination, data=request.POST or None, initial=sent.get("values"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Test request to {destination}",
            "opts": self.opts,
            "destination": destination,
            "destination_id": str(destination.pk),
            "form": form,
        }
        context |= sent.get("shown") or self._try_out(request, destination, form)
        if "outcome" in context and not sent:
            request.session[SENT] = {
                "destination": destination.pk,
                "values": form.cleaned_data,
                "shown": {name: context[name] for name in ("request_text", "url", "outcome")},
            }
            query = request.GET.copy()
            query["sent"] = "1"
            return redirect(f"{request.path}?{query.urlencode()}")
        return TemplateResponse(request, "destinations/test_request.html", context)

    def certify(self, request: HttpRequest, destination: Destination) -> HttpResponse:
        """Show what would be sent; by POST find out whether the partner speaks the protocol."""
        from destinations.certify import page  # here: what most pages need not load

        if request.method == "POST" and "take" in request.POST:
            try:
                messages.success(request, f"Saved: {page.take(request, destination)}.")
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
            return redirect(destination)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Certify {destination}",
            "opts": self.opts,
            "destination": destination,
        }
        log = lambda text: self.log_change(request, destination, text)  # noqa: E731
        return TemplateResponse(
            request, "destinations/certify.html", context | page.context_of(request, destination, log)
        )

    def _try_out(
        self, request: HttpRequest, destination: Destination, form: TestRequestForm
    ) -> dict[str, Any]:
        """Return what the page shows of the request and, when it was sent, of the reply."""
        values = _values(form)
        if values is None:
            return {}
        try:
            endpoint = destination.endpoint()
            made = try_out.make_request(
                endpoint, Operation(values["operation"]), values["user_id"], values.get("list_id", "")
            )
        except (SecretUnreadable, ValueError) as error:
            return {"problem": str(error)}
        shown = {"request_text": describe(made, endpoint), "url": made.url}
        if request.method != "POST" or "send" not in request.POST:
            return shown
        outcome = try_out.send(endpoint, made)
        self.log_change(request, destination, f"Sent a test request: {values['operation']}.")
        return shown | {"outcome": outcome.as_json()}


def _sent_before(request: HttpRequest, destination: Destination) -> dict[str, Any]:
    """Return what this person has just sent there, and what came of it; nothing on any other page."""
    found: dict[str, Any] = request.session.get(SENT, {})
    asked = request.method != "POST" and "sent" in request.GET
    return found if asked and found.get("destination") == destination.pk else {}


def _free_name(slug: str) -> str:
    """Return a name that no destination has, made of the partner's: one may well keep it."""
    taken = set(Destination.objects.filter(name__startswith=slug).values_list("name", flat=True))
    tried = (slug if number == 1 else f"{slug}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in tried if name not in taken)


def _problems_of_templates(form: DestinationForm) -> dict[str, list[str]]:
    """Return what is wrong with the fields that requests are made of, by label."""
    fields = [*LIST_FIELDS, *PROPERTY_FIELDS, *LISTS, "list_item_template", "remove_item_template", "methods"]
    fields += ["name_template", "change_template"]
    fields += ["value_words", "batch_size", "extra_headers", "test_path", "read_path", "read_places"]
    return {
        str(form.fields[name].label or name): [str(error) for error in form.errors[name]]
        for name in fields
        if name in form.errors and name in form.fields
    }


def _values(form: TestRequestForm) -> dict[str, Any] | None:
    """Return what the form says: what was sent in, or what it begins with; None when it is wrong."""
    if form.is_bound:
        return form.cleaned_data if form.is_valid() else None
    choices = [Operation(value) for value, _ in form.fields["operation"].choices]  # type: ignore[attr-defined]
    # What needs no list id, and changes least.
    first = next((one for one in choices if one in (Operation.TEST, Operation.CREATE)), choices[-1])
    form.initial["operation"] = first.value
    return {"operation": first.value, "user_id": form.fields["user_id"].initial}
