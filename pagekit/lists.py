"""A list that answers at a glance: columns that are filled for a page of rows at once, of which each person
chooses, and that are downloaded as CSV.

An app that uses the rows of another one adds a column to its list:  lists.add(Cohort, Column("goes_to", …))
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from itertools import islice
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from unfold.views import ChangeList

from pagekit.actions import ActionsAdmin

# Rows that a file is made of at a time.
PAGE = 500
# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
TIME = re.compile(r'<time datetime="([^"]*)"[^>]*>.*?</time>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """`fill` is given the rows of a page and returns what stands in each, by the row's key, in a fixed number
    of queries. `after`: the name of the column that it follows.
    """

    name: str
    label: str
    fill: Callable[[Sequence[Any]], Mapping[Any, Any]]
    after: str = ""


_added: dict[type[Model], list[Column]] = {}


def add(model: type[Model], column: Column) -> None:
    """Show a column in the list of a model's rows."""
    _added.setdefault(model, []).append(column)


class GlanceChangeList(ChangeList):
    """Rows with what their columns say."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        found: Any = self
        found.result_list = list(found.result_list)
        self.fill(found.result_list)

    def url_for_result(self, result: Any) -> str:
        """Lead to where one reads the row."""
        url: str = self.model_admin.page_url(result)
        return url

    def fill(self, rows: Sequence[Any]) -> None:
        """Give the rows what the columns that are shown need."""
        for shown in self.list_display:
            if isinstance(shown, _Display):
                values = shown.column.fill(rows)
                for row in rows:
                    row.__dict__.setdefault("filled", {})[shown.column.name] = values.get(row.pk, "")


class _Display:
    """A column as Django's list_display takes it: a callable with a description."""

    def __init__(self, column: Column) -> None:
        self.column, self.short_description, self.__name__ = column, column.label, column.name

    def __call__(self, row: Any) -> Any:
        return row.filled[self.column.name]


class GlanceAdmin(ActionsAdmin):
    """`list_display` names the columns that there are; `hidden_columns` those that nobody sees who has not
    chosen them; `list_columns` are filled.
    """

    list_columns: tuple[Column, ...] = ()
    hidden_columns: tuple[str, ...] = ()

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(require_safe(self.export_view))
        name = f"{self.opts.app_label}_{self.opts.model_name}_export_list"
        return [path("export.csv", export, name=name), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GlanceChangeList

    def chosen_columns(self, request: HttpRequest) -> Sequence[str]:
        """Return the columns that this person wants; none: those that are shown to everybody."""
        return ()

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        there = self.all_columns()
        chosen = set(self.chosen_columns(request)) or set(there) - set(self.hidden_columns)
        first = next(iter(there))  # it leads to the row
        return [shown for name, shown in there.items() if name in chosen or name == first]

    def all_columns(self) -> dict[str, Any]:
        """Return every column by name, in the order of the list."""
        there: dict[str, Any] = {name: name for name in self.list_display}
        for column in (*self.list_columns, *_added.get(self.model, ())):
            names = list(there)
            at = names.index(column.after) + 1 if column.after in there else len(names)
            items = list(there.items())
            there = dict([*items[:at], (column.name, _Display(column)), *items[at:]])
        return there

    def column_choices(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return every column but the first, with whether it is shown."""
        shown = {
            display if isinstance(display, str) else display.column.name
            for display in self.get_list_display(request)
        }
        return [
            {"name": name, "label": self._heading(display), "shown": name in shown}
            for name, display in list(self.all_columns().items())[1:]
        ]

    def _heading(self, display: Any) -> str:
        label = str(label_for_field(display, self.model, self))
        return label[:1].upper() + label[1:]

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """Send the list as it is filtered and sorted, with the columns that are shown, every page of it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            listed = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        return StreamingHttpResponse(
            self._lines(listed),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{self.opts.model_name}s.csv"'},
        )

    def _lines(self, listed: Any) -> Iterator[str]:
        """Yield a file's lines. Without its byte order mark, Excel takes it for Latin-1."""
        writer = csv.writer(_HandsOn())
        names = [name for name in listed.list_display if name != "action_checkbox"]
        yield "\ufeff" + writer.writerow([self._heading(name) for name in names])
        rows = iter(listed.queryset.iterator(chunk_size=PAGE))
        while page := list(islice(rows, PAGE)):
            listed.fill(page)
            for row in page:
                yield writer.writerow([_cell(lookup_field(name, row, self), row) for name in names])


class _HandsOn:
    """What csv writes to: hands the line on."""

    def write(self, line: str) -> str:
        return line


def _cell(found: tuple[Any, Any, Any], row: Any) -> str:
    """Return what a column shows as text that a spreadsheet does not calculate; of times, the exact one."""
    field, _, value = found
    if field is not None and getattr(field, "choices", None):
        value = getattr(row, f"get_{field.name}_display")()
    if isinstance(value, tuple):  # a label: its code, and its words
        value = value[-1]
    if isinstance(value, list):  # a heading with what stands below it
        value = " ".join(str(part) for part in value if part)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = "" if value is None else str(value)
    if isinstance(value, SafeString):
        text = unescape(" ".join(strip_tags(TIME.sub(r"\1", text)).split()))
    return f"'{text}" if text.startswith(FORMULA) else text


def by_key(rows: Iterable[Any], say: Callable[[Any], Any]) -> dict[Any, Any]:
    """Return what a function says of each row, as `Column.fill` does."""
    return {row.pk: say(row) for row in rows}
