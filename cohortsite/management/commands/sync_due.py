import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from cohorts import asked, window
from cohorts.models import Cohort
from cohortsite import announcing, forgetting, silence
from events import arrivals
from people.models import ProfileImport
from syncs import alerts, reporting, suppressing
from syncs.choices import DRIVABLE_RUNS
from syncs.due import drivable_destinations, start_due
from syncs.models import Comparison, Run, Sync
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Take in events that have arrived, calculate the cohorts and run the syncs whose time has come, "
        "and what was left open; import files of profiles, take suppressed people out, go on with erasures, "
        "announce versions, alert. For cron; safe to start twice."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        problems = [] if arrivals.take_in_all() else ["Events that have arrived could not be taken in."]
        problems += _calculate_due()
        _import_profiles()
        suppressing.take_effect()
        window.empty_ended(timezone.now())
        alerts.tell_changes(timezone.now())
        start_due(timezone.now())
        open_runs = Run.objects.filter(
            state__in=DRIVABLE_RUNS, sync__destination__in=drivable_destinations()
        ).select_related("sync")
        stop = stop_on_signals()
        runs: list[Run] = []
        if found := list(open_runs):
            from syncs.delivery.slots import drive_runs  # here: it imports all that sends and calculates

            with reporting.Bars(quiet=options["json"]) as bars:
                runs = drive_runs(found, stop=stop, report=bars.show)
        # After the runs: partners may just have let go of whom an erasure waits for.
        forgetting.go_on()
        _compare(stop.is_set)
        silence.tell()
        alerts.tell_changes(timezone.now())
        alerts.send_waiting(timezone.now())
        announcing.announce_published(timezone.now())
        if options["json"]:
            self.stdout.write(reporting.as_json(runs))
        else:
            for line in reporting.lines(runs):
                self.stdout.write(line)
            if not runs:
                self.stdout.write("Nothing is due.")
        for problem in problems:
            self.stderr.write(problem)
        sys.exit(1 if problems else reporting.exit_code(runs))


def _import_profiles() -> None:
    if not ProfileImport.objects.open().exists():
        return
    from people.profile_imports import import_waiting  # here: it imports what reads tables

    for _ in import_waiting():
        pass


def _compare(stopping: Callable[[], bool]) -> None:
    """Read back what partners have, where somebody or a schedule asks for it."""
    if not (Sync.objects.exclude(compare_cron="").exists() or Comparison.objects.open().exists()):
        return
    from syncs import comparing  # here: it imports all that asks a partner

    comparing.ask_due(timezone.now())
    comparing.run_waiting(stopping)


def _calculate_due() -> list[str]:
    """Calculate the cohorts whose time has come; return a sentence for each that could not be."""
    if not asked.any_due(timezone.now()):
        return []
    # Here and not above: a command that finds nothing due has no use for the engines.
    from cohorts import calculate

    due = calculate.calculate_due(timezone.now())
    failed = Cohort.objects.filter(pk__in=[cohort.pk for cohort in due]).exclude(calculation_error="")
    return [f"{cohort.key} was not calculated: {cohort.calculation_error}" for cohort in failed]
