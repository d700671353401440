"""Play a partner on loopback, as strict as its folder says."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.partners.fake import FakePartner
from destinations.partners.golden import CREDENTIAL, endpoint_of
from destinations.partners.serve import PartnerServer
from destinations.presets import PRESETS


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Serve a fake of a partner at 127.0.0.1 until Ctrl-C: it takes what the partner's folder says, "
        "refuses all else, and keeps members. Point a destination's address at it "
        "(OUTBOUND_ALLOW_NETS=127.0.0.1/32)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="The partner's name.")
        parser.add_argument("--port", type=int, default=9000, help="Where it listens (default: 9000).")
        parser.add_argument("--unknown", nargs="*", default=[], help="Users whom it does not take.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["slug"] not in PRESETS:
            raise CommandError(
                f"No partner is named {options['slug']!r}. Known: {', '.join(PRESETS)}.", returncode=2
            )
        partner = PRESETS[options["slug"]]
        try:
            server = PartnerServer(options["port"], quiet=False)
        except OSError as error:
            raise CommandError(f"Port {options['port']}: {error.strerror}.") from None
        endpoint = endpoint_of(partner, server.url)
        server.partner = FakePartner(endpoint, partner.fake)
        server.partner.unknown = set(options["unknown"])
        self.stdout.write(f"{partner.label} at {server.url}. Credential: {CREDENTIAL}")
        if endpoint.auth_mode == "basic":
            self.stdout.write(f"User name: {endpoint.auth_username}")
        for name, secret in endpoint.secrets.items():
            self.stdout.write(f"Named secret {name}: {secret}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            self.stdout.write("")
        finally:
            server.server_close()
