"""What has come in, in the admin: read-only."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from events.models import CatalogueEntry, ImportedFile


class ReadOnlyAdmin(ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


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
    list_display = ["name", "rows", "bad_lines", "imported_at", "workspace"]
    list_display_links = None
    list_filter = ["workspace"]
    search_fields = ["name"]
    ordering = ["-imported_at"]
