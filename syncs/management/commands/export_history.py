import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Write what is new of the history (runs, batches, versions, who entered and left, rejected users) to "
        "a PostgreSQL or ClickHouse database or a folder of Parquet files. Interrupted, the next one goes on "
        "exactly there."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--to",
            metavar="WHERE",
            help="postgres://…, clickhouse://… or a folder; by default the setting WAREHOUSE_URL",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        import psycopg  # here, as what follows: a plain command must not import them

        from syncs.warehouse.export import UnknownTarget, export, target_of

        stop = stop_on_signals()
        try:
            written = export(target_of(options["to"] or settings.WAREHOUSE_URL), stop.is_set)
        except UnknownTarget as error:
            raise CommandError(str(error), returncode=2) from None
        except (OSError, psycopg.Error) as error:
            raise CommandError(f"The history could not be written: {error}".strip()) from None
        if options["json"]:
            self.stdout.write(json.dumps(written))
        else:
            self.stdout.write(", ".join(f"{count:,} {table}" for table, count in written.items()))
