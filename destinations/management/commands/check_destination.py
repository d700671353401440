"""Say whether a destination can be reached, and what it answers to a request that one asks for."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations import try_out
from destinations.endpoint import Kind
from destinations.errors import DeliveryError
from destinations.models import Destination
from destinations.payloads import Operation
from destinations.secrets import SecretUnreadable
from destinations.transport import Transport, describe


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Check a destination: its fields, its host's name, the connection, TLS; then its test call, which "
        "changes nothing, if it has one. All else is sent only when --send asks for it. `--send read` counts "
        "the first page of a list. Of the others `--send remove` is the least harmful: removing a user who "
        "was never there changes nothing, and a partner that answers that it does not know the list or the "
        "user has accepted the credential. `--send add` adds a test user, `--send create` makes a list that "
        "stays. Exit code 0: all is well; 1: it is not; 2: no such destination, or wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The destination's name, a slug.")
        # Without the id of a request nothing can be asked about one.
        kinds = [one for one in Operation if one != Operation.POLL]
        parser.add_argument("--send", choices=kinds, help="Send one request of this kind.")
        parser.add_argument("--user", default=try_out.TEST_USER, help="The user of that request.")
        parser.add_argument("--list-id", default="0", help="The list that add and remove name (default: 0).")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            destination = Destination.objects.get(name=options["name"])
        except Destination.DoesNotExist:
            raise CommandError(f"No destination is named {options['name']!r}.", returncode=2) from None
        if options["send"] == Operation.CREATE and destination.kind == Kind.PROPERTY:
            raise CommandError("A property destination has no list to create.", returncode=2)
        if options["send"] in try_out.LOOKING and not getattr(destination, f"{options['send']}_path"):
            raise CommandError(
                f"This destination has no {options['send']} call: see its field {options['send']}_path.",
                returncode=2,
            )
        result: dict[str, Any] = {"destination": destination.name, "ok": False}
        try:
            self._check(destination, options, result)
        except ValidationError as error:
            result["problem"] = "; ".join(error.messages)
        except (DeliveryError, SecretUnreadable, ValueError) as error:
            result["problem"] = str(error)
        self.stdout.write(json.dumps(result) if options["json"] else _as_text(result))
        if not result["ok"]:
            raise SystemExit(1)

    def _check(self, destination: Destination, options: dict[str, Any], result: dict[str, Any]) -> None:
        """Fill the result; raise for the first thing that is wrong."""
        destination.full_clean(validate_unique=False, validate_constraints=False)
        endpoint = destination.endpoint()
        transport = Transport(endpoint)
        contact = transport.probe()
        transport.close()
        result |= {
            "address": contact.address,
            "port": contact.port,
            "tls": contact.tls or None,
            "connected_in_ms": round(contact.latency * 1000, 1),
        }
        wanted = options["send"] or (Operation.TEST if endpoint.test_path else None)
        if wanted:
            request = try_out.make_request(endpoint, Operation(wanted), options["user"], options["list_id"])
            result["request"] = describe(request, endpoint)
            outcome = try_out.send(endpoint, request)
            if outcome.reply:
                result |= {"status": outcome.reply.status, "reply": outcome.reply.excerpt}
            if outcome.error and outcome.error.suggested_rule:
                result["proposed_rule"] = outcome.error.suggested_rule
            if outcome.error and not outcome.is_reached(request):
                raise outcome.error
            if request.operation == Operation.TEST and endpoint.test_proves:
                result["proves"] = endpoint.test_proves
            if outcome.members is not None:
                result["members_on_first_page"] = outcome.members
            if outcome.error:
                result["note"] = f"{outcome.error} The credential was accepted."
            elif outcome.reply and outcome.reply.job_id:
                result["job_id"] = outcome.reply.job_id
            elif outcome.reply and outcome.reply.list_id:
                result["list_id"] = outcome.reply.list_id
        result["ok"] = True


def _as_text(result: dict[str, Any]) -> str:
    """Return the result as lines for people."""
    return "\n".join(f"{name.replace('_', ' '):>16}  {value}" for name, value in result.items())
