"""Make a personal token of the REST API."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from cohortsite import tokens
from cohortsite.models import Scope


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Make a token that acts as USER in the REST API, and print it, once. See --scope and --days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--name", default="command line", help="What uses it.")
        parser.add_argument(
            "--scope",
            choices=Scope.values,
            default=Scope.READ,
            help="What it may do at most: read, run (also run, pause, approve, upload) or configure (all "
            "that the user may). Default: read.",
        )
        days = parser.add_mutually_exclusive_group()
        days.add_argument(
            "--days", type=int, default=tokens.DAYS, help="Expires after so many days; default: %(default)s."
        )
        days.add_argument("--no-expiry", action="store_true", help="It does not expire.")
        parser.add_argument("--json", action="store_true", help='Print {"token": …} instead.')

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.", returncode=2)
        if not user.is_staff:
            hint = "Give them Staff status first: a token does what its user may do."
            raise CommandError(f"{options['user']} may not use the admin. {hint}", returncode=2)
        days = options["days"]
        if not 0 < days <= 36_500:
            raise CommandError("--days must be from 1 to 36,500.", returncode=2)
        expires_at = None if options["no_expiry"] else timezone.now() + timedelta(days=days)
        _, text = tokens.create(
            user, options["name"][:100], scope=Scope(options["scope"]), expires_at=expires_at
        )
        self.stdout.write(json.dumps({"token": text}) if options["json"] else text)
