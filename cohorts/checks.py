"""Mistakes in the addresses of databases, told at start; an address is not shown: it holds a password."""

from dataclasses import fields
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("settings")
def check_databases(app_configs: Any, **options: Any) -> list[CheckMessage]:
    addresses = {f"QUERY_DATABASES, {name}": url for name, url in settings.QUERY_DATABASES.items()}
    if settings.EVENTS_URL:
        addresses["EVENTS_URL"] = settings.EVENTS_URL
    found: list[CheckMessage] = []
    if not addresses:
        return found
    # Here and not above: most commands have no such address, and the drivers take long to import.
    from cohorts.databases import FileFolder, open_database

    for name, url in addresses.items():
        try:
            database = open_database(url)
        except ValueError as error:
            found.append(Error(f"{name}: {error}.", id="cohorts.E001"))
        else:
            if name == "EVENTS_URL" and isinstance(database, FileFolder):
                hint = "Leave it empty for our own files, or name PostgreSQL or ClickHouse."
                found.append(Error("EVENTS_URL cannot be a folder.", hint=hint, id="cohorts.E002"))
    return found


@register("settings")
def check_tables(app_configs: Any, **options: Any) -> list[CheckMessage]:
    if not settings.EVENTS_TABLES:
        return []
    if settings.EVENTS_INSERT:
        hint = "Leave EVENTS_TABLES out: the tables that create_event_tables makes have names of their own."
        return [Error("EVENTS_INSERT writes to our own tables alone.", hint=hint, id="cohorts.E004")]
    from cohorts.dialects import Tables

    known = [field.name for field in fields(Tables)]
    return [
        Error(f"EVENTS_TABLES has {name!r}.", hint=f"Use {', '.join(known)}.", id="cohorts.E003")
        for name in settings.EVENTS_TABLES
        if name not in known
    ]
