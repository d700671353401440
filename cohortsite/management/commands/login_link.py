"""Print a link that logs somebody in, once."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Print a link that logs USER in, once, within ten minutes: for when passwords are switched off and "
        "the identity server is away. A second factor is asked for as always."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--json", action="store_true", help='Print {"link": …} instead.')

    def handle(self, *args: Any, **options: Any) -> None:
        from cohortsite import login_link  # the pages, which no other command needs

        user = User.objects.filter(username=options["user"], is_active=True, is_staff=True).first()
        if user is None:
            raise CommandError(
                f"No active user {options['user']!r} may use the admin. "
                "`manage.py createsuperuser` makes one that may.",
                returncode=2,
            )
        link = login_link.make(user)
        self.stdout.write(json.dumps({"link": link}) if options["json"] else link)
