from typing import Any

from people import suppression
from syncs.suppress_command import SuppressCommand


class Command(SuppressCommand):
    help = "Take people off the list of the suppressed: they come back to the cohorts that name them."

    def handle(self, **options: Any) -> None:
        self.perform(
            lambda entries: suppression.lift(entries, at_once=options["now"]),
            "taken off the list",
            options,
        )
