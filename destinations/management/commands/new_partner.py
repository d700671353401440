"""Write a folder for a new partner, or its requests and page anew after its data was edited."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.partners import writing
from destinations.partners.folder import BadFolder


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Write a folder for a new partner below PARTNERS_DIR (or --into): partner.json to edit, the requests "
        "that follow from it, and a page for people. With --renew, write requests and page anew after "
        "partner.json was edited: look at what changed. `fake_partner SLUG` then plays the partner."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="The partner's name: small letters, digits, hyphens.")
        parser.add_argument("--into", help="The folder of folders (default: PARTNERS_DIR).")
        parser.add_argument(
            "--renew", action="store_true", help="The folder is there: write it anew from its data."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        root = options["into"] or settings.PARTNERS_DIR
        if not root:
            raise CommandError("Where to? Set PARTNERS_DIR, or name a folder with --into.", returncode=2)
        folder = Path(root) / options["slug"]
        try:
            if options["renew"]:
                for name in writing.renew(folder):
                    self.stdout.write(f"~ {folder / name}")
            else:
                self.stdout.write(str(writing.new(Path(root), options["slug"])))
        except (BadFolder, ValueError) as error:
            raise CommandError(str(error)) from None
