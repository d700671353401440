"""What a person can do with a row: a button that posts, or a page that asks first and then posts; and the
pages about it. This is the only way to put a button on a row's page.

unfold's own actions are links, which a prefetching browser or a forged page could follow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods
from unfold.admin import ModelAdmin

from pagekit import panels

# Of a text that an action asks for.
LONGEST = 500


Words = str | Callable[[Any], str]


class Refused(Exception):
    """Why an action is not done, in words for whoever wants it."""


class But(str):
    """What is said of an action that was done and yet does not lead to what the person wants."""


class Person(str):
    """The name of who does it; `address` is where they sit, `user` their account."""

    address = ""
    user: Any = None


@dataclass(frozen=True, slots=True)
class Action:
    """`perform` is given the row and the Person, and returns what to say; Refused says why not.

    `permission`: '' for whoever may see the row.
    `text`: the label of a text that the page asks for, '' for none; it is `perform`'s third argument, and
    begins with what `initial` returns.
    `question`: what a page asks before it is done; '' does it at once. `consequence`: what then happens, with
    the numbers and the partner of the row. Both are texts, or are made of the row. `instead`: another action
    that the page offers alongside this one; `listed`: whether the row's page offers it, too; `rare`: there
    under *More*.
    `offered`: whether it makes sense for the row as it is. `deletes`: the row is gone afterwards.
    `seen`: what the person decides about, by a number or a name; it is done only if it is still the same.
    """

    name: str
    label: str
    icon: str
    perform: Callable[..., str]
    offered: Callable[[Any], bool] = lambda row: True
    question: Words = ""
    consequence: Words = ""
    instead: str = ""
    permission: str = ""
    variant: str = "default"
    text: str = ""
    initial: Callable[[Any], str] = lambda row: ""
    listed: bool = True
    rare: bool = False
    deletes: bool = False
    seen: Callable[[Any], str] = lambda row: ""

    def asking(self, row: Any, *, whole: bool) -> "Action":
        """Return it with the question of this row; `whole`: with what then happens, which may be queried."""
        consequence = _words(self.consequence, row) if whole else ""
        return replace(self, question=_words(self.question, row), consequence=consequence)

    @property
    def page_variant(self) -> str:
        """The button on the row's page is red only where it does the action, on the page that asks."""
        return "default" if self.variant == "danger" else self.variant


@dataclass(frozen=True, slots=True)
class Page:
    """A page about a row. `view`: the admin's method, which is given the request and the row; `url`, instead:
    where the page is, if it has an address already. `permission`, `offered`: as an action's. `tab`: whether
    it stands among the tabs of a row that has an overview, and not among the buttons.
    """

    name: str
    label: str
    icon: str
    view: str = ""
    url: Callable[[Any], str] | None = None
    permission: str = ""
    offered: Callable[[Any], bool] = lambda row: True
    variant: str = "default"
    methods: tuple[str, ...] = ("GET", "HEAD")
    tab: bool = False


class ActionsAdmin(ModelAdmin):
    """An admin whose rows have actions and pages: their addresses, and who may do and see them."""

    row_actions: tuple[Action, ...] = ()
    row_pages: tuple[Page, ...] = ()
    # What may be raised with words for people.
    refusals: tuple[type[Exception], ...] = (Refused,)
    change_form_outer_before_template: str | None = "pagekit/actions.html"

    class Media:
        css = {"all": ("pagekit/pages.css",)}

    def get_urls(self) -> list[URLPattern]:
        do = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.do_view))
        return [
            path("<path:object_id>/do/<slug:name>/", do, name=self._address("do")),
            *(self._page_path(page) for page in self.row_pages if page.view),
            *super().get_urls(),
        ]

    def may_do(self, request: HttpRequest, thing: Action | Page, row: Any) -> bool:
        return not thing.permission or request.user.has_perm(thing.permission)

    def actions_for(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the actions that this person can do to this row now, with their addresses."""
        return [
            {
                "action": action.asking(row, whole=False),
                "url": self._url("do", row, action.name),
                "page_variant": action.page_variant,
                "seen": action.seen(row),
            }
            for action in self.row_actions
            if action.offered(row) and self.may_do(request, action, row)
        ]

    def shown_for(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what pagekit/actions.html shows on the row's page."""
        listed = [one for one in self.actions_for(request, row) if one["action"].listed]
        pages = [
            page
            for page in self.row_pages
            if not page.tab and page.offered(row) and self.may_do(request, page, row)
        ]
        return {
            "row_pages": [{"page": page, "url": self.address_of(page, row)} for page in pages],
            "panels": panels.of(request, row),
            "row_actions": listed,
            "has_rare": any(one["action"].rare for one in listed),
        }

    def do_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """GET asks, POST does."""
        action = next((action for action in self.row_actions if action.name == name), None)
        if action is None:
            raise Http404
        row = self._row(request, object_id, action)
        if request.method == "POST":
            return self._do(request, action, row)
        return TemplateResponse(request, "pagekit/ask.html", self._asking(request, action, row))

    def page_url(self, row: Any) -> str:
        return reverse(f"admin:{self._address('change')}", args=[row.pk])

    def address_of(self, page: Page, row: Any) -> str:
        return page.url(row) if page.url else self._url(page.name, row)

    def around(self, request: HttpRequest, row: Any, current: str) -> dict[str, Any]:
        """Return what each page about the row is given; `current`: the page's name."""
        return {"opts": self.opts, "original": row}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None and row.pk:
            context |= self.shown_for(request, row)
        return super().render_change_form(request, context, *args, **kwargs)

    def _page_path(self, page: Page) -> URLPattern:
        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            row = self._row(request, object_id, page)
            shown: HttpResponseBase = getattr(self, page.view)(request, row)
            if isinstance(shown, TemplateResponse) and shown.context_data is not None:
                shown.context_data |= self.around(request, row, page.name)
            return shown

        checked: Any = self.admin_site.admin_view(require_http_methods(page.methods)(view))
        route: URLPattern = path(f"<path:object_id>/{page.name}/", checked, name=self._address(page.name))
        return route

    def _row(self, request: HttpRequest, object_id: str, thing: Action | Page) -> Any:
        """Return the row, if this person may see it and do this with it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if thing.permission and not request.user.has_perm(thing.permission):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.may_do(request, thing, row):
            raise PermissionDenied
        return row

    def _do(self, request: HttpRequest, action: Action, row: Any) -> HttpResponse:
        if not action.offered(row) or request.POST.get("seen", "") != action.seen(row):
            messages.error(
                request, f"“{action.label}” is not possible any more: things have changed meanwhile."
            )
            return HttpResponseRedirect(self.page_url(row))
        by = Person(request.user.get_username())
        by.address, by.user = request.META.get("REMOTE_ADDR", ""), request.user
        try:
            given = [_text(request)] if action.text else []
            said = action.perform(row, by, *given)
        except self.refusals as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(self.page_url(row))
        tell = messages.warning if isinstance(said, But) else messages.success
        tell(request, str(said))
        if action.deletes:
            self.log_deletions(request, [row])
            return HttpResponseRedirect(reverse(f"admin:{self._address('changelist')}"))
        self.log_change(request, row, f"{action.label}: {said}")
        return HttpResponseRedirect(self.page_url(row))

    def _asking(self, request: HttpRequest, action: Action, row: Any) -> dict[str, Any]:
        offered = action.offered(row)
        instead = [
            offer for offer in self.actions_for(request, row) if offer["action"].name == action.instead
        ]
        return {
            **self.admin_site.each_context(request),
            **self.around(request, row, action.name),
            "title": action.label,
            "action": action.asking(row, whole=offered),
            "offered": offered,
            "seen": action.seen(row),
            "text": action.initial(row) if action.text else "",
            "instead": instead,
            "back": self.page_url(row),
        }

    def _address(self, name: str) -> str:
        """Return the name of one of this admin's addresses."""
        slug = name.replace("-", "_").replace(".", "_")
        return f"{self.opts.app_label}_{self.opts.model_name}_{slug}"

    def _url(self, name: str, row: Any, *more: str) -> str:
        return reverse(f"admin:{self._address(name)}", args=[row.pk, *more])


def _words(words: Words, row: Any) -> str:
    return words if isinstance(words, str) else words(row)


def _text(request: HttpRequest) -> str:
    """Return the text that the page asked for; Refused if it is no line of text."""
    text = request.POST.get("text", "").strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        raise Refused(f"Give a line of 1 to {LONGEST} characters.")
    return text
