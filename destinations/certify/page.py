"""Certification from a destination's page in the admin: run it, show the report, take over what was found."""

from collections.abc import Callable
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from destinations.certify.run import certify, mock_call
from destinations.models import Destination
from destinations.secrets import SecretUnreadable
from pagekit import approval

# Within what a web server grants a page; a terminal has more time.
SECONDS = 60
SALT = "destinations.certify"
Log = Callable[[str], None]


def context_of(request: HttpRequest, destination: Destination, log: Log) -> dict[str, Any]:
    """Return what the page shows; by POST the requests are sent, and logged."""
    users = request.POST.get("users", "").split("\n") if request.method == "POST" else []
    ids = [user.strip("\r") for user in users if user.strip()]
    context: dict[str, Any] = {"seconds": SECONDS, "users": "\n".join(ids)}
    try:
        endpoint = destination.endpoint()
        context["mock"] = mock_call(endpoint)
        if request.method == "POST" and "certify" in request.POST:
            log("Certified.")
            report = certify(endpoint, users=ids, seconds=SECONDS)
            context |= {"report": report, "proposed": _proposed(destination, report.profile.settings)}
            context["signed"] = signing.dumps([destination.pk, report.profile.settings], salt=SALT)
    except (SecretUnreadable, ValueError) as error:
        context["problem"] = str(error)
    return context


def take(request: HttpRequest, destination: Destination) -> str:
    """Save what a certification of the last hour found; return what was changed. Raises ValidationError."""
    try:
        owner, values = signing.loads(request.POST.get("profile", ""), salt=SALT, max_age=3600)
    except signing.BadSignature:
        raise ValidationError("This result is older than an hour: certify again.") from None
    if owner != destination.pk:
        raise ValidationError("This result is of another destination.")
    for name, value in values.items():
        setattr(destination, name, value)
    destination.full_clean(validate_unique=False, validate_constraints=False)
    approval.check(destination, request.user)
    destination.save_fields(values)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _proposed(destination: Destination, settings: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    """Return field, value and present value of what the destination does not use yet."""
    return [
        (Destination._meta.get_field(name), value, getattr(destination, name))
        for name, value in settings.items()
        if getattr(destination, name) != value
    ]
