"""Make a personal token of the REST API."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from cohortsite import tokens


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Make a token that acts as USER in the REST API, and print it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--name", default="command line", help="What uses it.")
        parser.add_argument("--days", type=int, help="Expires after so many days; default: never.")
        parser.add_argument("--json", action="store_true", help='Print {"token": …} instead.')

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.", returncode=2)
        if not user.is_staff:
            hint = "Give them Staff status first: a token does what its user may do."
            raise CommandError(f"{options['user']} may not use the admin. {hint}", returncode=2)
        days = options["days"]
        if days is not None and not 0 < days <= 36_500:
            raise CommandError("--days must be from 1 to 36,500.", returncode=2)
        expires_at = timezone.now() + timedelta(days=days) if days else None
        _, text = tokens.create(user, options["name"][:100], expires_at=expires_at)
        self.stdout.write(json.dumps({"token": text}) if options["json"] else text)
