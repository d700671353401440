import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cohortsite import forgetting
from people.erasing import ask, certificate_of
from people.models import Erasure, ErasureState
from people.suppression import InvalidEntry
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Forget people: suppressed at once, removed at every partner, then erased everywhere. Run it again, "
        "or leave it to the worker, while it says that it waits. It cannot be undone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("users", nargs="*", metavar="USER", help="user ids; none: those that wait")
        parser.add_argument("--reference", default="", help="of the request, such as a ticket's number")
        parser.add_argument("--certificate", type=int, metavar="NUMBER", help="print this certificate")
        parser.add_argument("--by", default="command", help="who asks, for the record")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, users: list[str], **options: Any) -> None:
        if number := options["certificate"]:
            self._print(number)
            return
        try:
            asked = [ask(user, by=options["by"], reference=options["reference"]) for user in users]
        except InvalidEntry as error:
            raise CommandError(str(error)) from None
        waiting = Erasure.objects.filter(state=ErasureState.WAITING)
        erasures = asked or list(waiting.order_by("pk"))
        forgetting.drive_partners(stop_on_signals())
        for erasure in erasures:
            erasure.refresh_from_db()
            if erasure.state == ErasureState.WAITING:
                forgetting.forget(erasure)
            self.stdout.write(json.dumps(certificate_of(erasure)) if options["json"] else _said(erasure))

    def _print(self, number: int) -> None:
        erasure = Erasure.objects.filter(pk=number).first()
        if erasure is None:
            raise CommandError(f"There is no erasure {number}.", returncode=2)
        self.stdout.write(json.dumps(certificate_of(erasure), indent=2, ensure_ascii=False))


def _said(erasure: Erasure) -> str:
    if erasure.state == ErasureState.DONE:
        return f"Erasure {erasure.pk}: done. Certificate: forget_user --certificate {erasure.pk}"
    return f"Erasure {erasure.pk}: waits. {' '.join(erasure.waits)}"
