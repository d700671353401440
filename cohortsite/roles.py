"""Who may do what: three groups, made by a migration and kept by rules.

    viewer         sees everything of ours, changes nothing
    operator       a viewer who runs, stops, pauses, approves, uploads, and decides about rejected users
    administrator  also configures, and makes users, keys and groups

A model that is added later is in no group until a migration calls `grant` again; a test says so.
"""

from collections.abc import Iterator

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

APPS = ("events", "people", "cohorts", "destinations", "syncs", "receiving")
OPERATING = (
    "syncs.run_sync",
    "destinations.pause_destination",
    "cohorts.add_upload",
    "cohorts.change_cohortversion",
    "people.add_suppression",
    "people.change_suppression",
    "people.add_profileimport",
    "events.add_eventupload",
    # With FOUR_EYES: what somebody else approves.
    "cohortsite.add_proposal",
)


def grant(using: str = "default") -> None:
    """Make the groups, and give each what the rules say. What people gave a group besides stays.

    Django makes permissions after the last migration; a migration that needs them makes them itself.
    """
    for label in (*APPS, "cohortsite", "auth", "admin"):
        create_permissions(apps.get_app_config(label), verbosity=0, using=using)
    for name, wanted in RULES.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.add(*Permission.objects.using(using).filter(wanted))


def within(scope: str, permission: str) -> bool:
    """Say whether a token of a scope (`models.Scope`) may use a permission that its owner has."""
    if scope == "configure":
        return True
    name = permission.rpartition(".")[2]
    return name.startswith("view_") or (scope == "run" and permission in OPERATING)


def _named(names: tuple[str, ...]) -> Iterator[Q]:
    for name in names:
        label, _, codename = name.partition(".")
        yield Q(content_type__app_label=label, codename=codename)


def _any(queries: Iterator[Q]) -> Q:
    wanted = Q(pk=None)
    for query in queries:
        wanted |= query
    return wanted


_VIEWING = Q(content_type__app_label__in=APPS, codename__startswith="view_") | _any(
    _named(("cohortsite.view_proposal",))
)
RULES = {
    "viewer": _VIEWING,
    "operator": _VIEWING | _any(_named(OPERATING)),
    "administrator": Q(content_type__app_label__in=(*APPS, "cohortsite", "auth"))
    | _any(_named(("admin.view_logentry",))),
}
