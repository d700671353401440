from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from events.event_tables import NotInserted
from events.inserting import own_tables


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Make the tables of events at EVENTS_URL that are missing, for EVENTS_INSERT; others stay."

    def handle(self, **options: Any) -> None:
        if not settings.EVENTS_URL:
            raise CommandError("EVENTS_URL is empty: events are kept in files, which need no tables.")
        try:
            statements = own_tables(settings.EVENTS_URL).create()
        except NotInserted as error:
            raise CommandError(str(error)) from None
        self.stdout.write(";\n".join(statement.strip("\n") for statement in statements) + ";")
        if not settings.EVENTS_INSERT:
            self.stderr.write("Set EVENTS_INSERT=true, so that what comes in is inserted there.")
