import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from cohortsite.config import export
from cohortsite.config_file import dump

HEAD = "# Applied by: manage.py apply_config FILE. Secrets are not in here: auth.credential_env names their\n"
HEAD += "# environment variables.\n"


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Write destinations, cohorts and syncs as a configuration file (YAML) to standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="JSON, which apply_config reads as well")

    def handle(self, **options: Any) -> None:
        document = export()
        text = json.dumps(document, ensure_ascii=False) if options["json"] else HEAD + dump(document)
        self.stdout.write(text.rstrip("\n"))
