from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from receiving.search import run_searches


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Do the searches of the request log that wait. The worker does them too."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help='print {"finished": …}')

    def handle(self, *args: Any, **options: Any) -> None:
        done = run_searches()
        self.stdout.write(f'{{"finished": {done}}}' if options["json"] else f"{done} searches finished.")
