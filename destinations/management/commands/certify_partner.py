"""Find out whether a partner speaks the protocol, and what to mend: see docs/certification.md."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.addresses import parse_networks
from destinations.certify.run import SECONDS, certify
from destinations.endpoint import AuthMode, Endpoint, Kind
from destinations.models import Destination
from destinations.secrets import SecretUnreadable
from destinations.validators import check_base_url

NOT_BY_CALLS = (
    "Each check adds or removes users and looks at once: a partner that only knows whole lists, or works on "
    "requests later, cannot be certified. Send a test request instead."
)


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Try a partner out: send what senders send, and say what must, should and could be mended, each with "
        "request, reply and what to do. It makes a list (or a property) of its own with made-up users, takes "
        "all of it away again, and names what it could not. Exit code 0: cohorts can be synced; 1: something "
        "that must be is missing; 2: wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", help="The partner's address, https://…, or the name of a destination.")
        parser.add_argument("--key", default="", help="The key that the partner issued. Empty: none is sent.")
        parser.add_argument(
            "--auth",
            choices=["key", "bearer", "header"],
            default="key",
            help="How the key is sent: Basic as user name (default), Bearer, or in --auth-header.",
        )
        parser.add_argument("--auth-header", default="X-Api-Key", help="For --auth header: its name.")
        parser.add_argument("--kind", choices=[*Kind], default=Kind.LIST.value)
        parser.add_argument(
            "--user", action="append", default=[], help="A user whom the partner knows; again for more."
        )
        parser.add_argument("--seconds", type=float, default=SECONDS, help="Begin no check after these.")
        parser.add_argument("--html", type=Path, help="Write the report as a page to this file, too.")
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        endpoint = _endpoint(options)
        if endpoint.replaces_lists or endpoint.poll_path:
            raise CommandError(NOT_BY_CALLS, returncode=2)
        report = certify(endpoint, users=options["user"], seconds=options["seconds"])
        if options["html"]:
            try:
                options["html"].write_text(report.as_html())
            except OSError as error:
                raise CommandError(f"The page cannot be written: {error}", returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            self.stdout.write(report.as_text())
        if not report.passed:
            raise SystemExit(1)


def _endpoint(options: dict[str, Any]) -> Endpoint:
    """Return whom to try: a destination as it is configured, or the protocol's defaults at an address."""
    target = options["target"]
    if "://" not in target:
        try:
            return Destination.objects.get(name=target).endpoint()
        except Destination.DoesNotExist:
            text = f"{target!r} is neither an address (https://…) nor the name of a destination."
            raise CommandError(text, returncode=2) from None
        except SecretUnreadable as error:
            raise CommandError(str(error), returncode=2) from None
    try:
        check_base_url(target)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages), returncode=2) from None
    return Endpoint(
        name="certified",
        base_url=target,
        kind=Kind(options["kind"]),
        auth_mode=AuthMode(options["auth"]) if options["key"] else AuthMode.NONE,
        auth_header=options["auth_header"],
        credential=options["key"],
        allow_nets=parse_networks(settings.OUTBOUND_ALLOW_NETS),
    )
