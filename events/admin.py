"""What has come in, in the admin: read-only, but for imports that are undone."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from events.correct import undo_import
from events.engine import EngineError
from events.models import CatalogueEntry, Correction, EventFile, ImportedFile
from events.workspace_folders import Refused
from pagekit.read_only import ReadOnlyAdmin


@admin.register(CatalogueEntry)
class CatalogueAdmin(ReadOnlyAdmin):
    list_display = ["show_event", "show_property", "show_type", "count", "last_seen", "workspace"]
    list_display_links = None
    list_filter = ["workspace"]
    search_fields = ["event", "property_name"]
    search_help_text = "An event's or a property's name."
    ordering = ["workspace", "event", "property_name"]
    show_full_result_count = False

    @display(description="Event", ordering="event")
    def show_event(self, entry: CatalogueEntry) -> str:
        return entry.event or "(the user)"

    @display(description="Property", ordering="property_name")
    def show_property(self, entry: CatalogueEntry) -> str:
        return entry.property_name or "—"

    @display(description="Type")
    def show_type(self, entry: CatalogueEntry) -> str:
        return entry.type if entry.property_name else "event"


@admin.register(ImportedFile)
class ImportedFileAdmin(ReadOnlyAdmin):
    """Imports stay listed when they are undone: Django's question before a deletion is asked before that."""

    list_display = ["name", "source", "rows", "bad_lines", "imported_at", "by", "undone_at", "workspace"]
    list_display_links = None
    list_filter = ["workspace", ("undone_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "source", "key"]
    ordering = ["-imported_at"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("events.delete_importedfile")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found: dict[str, Any] = super().get_actions(request)
        return {
            name: (function, name, "Undo: the events that they brought are taken out")
            for name, (function, _, _) in found.items()
        }

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ImportedFile]) -> None:
        for imported in queryset:
            try:
                done = undo_import(imported.workspace, imported.key or "", request.user.get_username())
            except (EngineError, Refused, OSError) as error:
                self.message_user(request, f"{imported}: {error}", messages.ERROR)
            else:
                self.message_user(request, done.sentence)


@admin.register(Correction)
class CorrectionAdmin(ReadOnlyAdmin):
    list_display = ["what", "events", "traits", "by", "at", "workspace"]
    list_display_links = None
    list_filter = ["workspace"]
    search_fields = ["what", "by"]
    ordering = ["-at"]


@admin.register(EventFile)
class EventFileAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "state", "problem", "rows", "size", "created_at", "workspace"]
    list_display_links = None
    list_filter = ["state", "workspace", "kind"]
    search_fields = ["name"]
    ordering = ["-created_at"]
