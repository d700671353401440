import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from receiving.browsers import clean_origins
from receiving.keys import create_key
from receiving.models import Workspace


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Make an API key for a workspace, which is created when it is new. The key is printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="its short name: letters, digits, hyphens")
        parser.add_argument("--name", default="", help="who uses the key")
        parser.add_argument("--app-id", default="", help="the app_id that calls with this key bring")
        parser.add_argument(
            "--origin", action="append", default=[], metavar="https://shop.example",
            help="a key for pages that come from there: it may only write events and traits; repeatable",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help='print {"key": "…"}')

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            origins = clean_origins(" ".join(options["origin"]))
            workspace = self._workspace(options["workspace"])
        except ValidationError as error:
            raise CommandError("; ".join(error.messages), returncode=2) from None
        _, key = create_key(
            workspace, name=options["name"], app_id=options["app_id"],
            write_only=bool(origins), origins=origins,
        )  # fmt: skip
        self.stdout.write(json.dumps({"key": key}) if options["json"] else key)

    def _workspace(self, slug: str) -> Workspace:
        found = Workspace.objects.filter(slug=slug).first()
        if found is not None:
            return found
        new = Workspace(slug=slug)
        new.full_clean()
        new.save()
        return new
