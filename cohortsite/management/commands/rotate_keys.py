"""Encrypt every stored secret anew with the first of FIELD_KEYS."""

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cohortsite import second_factor
from destinations import secrets
from people import tombstones


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Encrypt every stored secret anew with the first of FIELD_KEYS. To rotate: put the new key first, "
        "keep the old one behind it, restart, run this, then take the old key away. "
        "Exit code 1 when a secret cannot be read with any key; the others are rotated all the same."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            results = [*secrets.rotate(), *second_factor.rotate(), *tombstones.rotate()]
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        unreadable = [f"{row._meta.label} {row}: {field}" for row, field, readable in results if not readable]
        rotated = len(results) - len(unreadable)
        if options["json"]:
            self.stdout.write(json.dumps({"rotated": rotated, "unreadable": unreadable}))
        else:
            self.stdout.write(f"{rotated} rotated, {len(unreadable)} unreadable")
            for line in unreadable:
                self.stderr.write(f"Cannot be read with any of FIELD_KEYS: {line}")
        if unreadable:
            raise SystemExit(1)
