"""The sidebar: what a person may see, in the order in which one works."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

# Title, icon, the page's name, and the permission to see it ('' for everybody who may log in).
GROUPS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "",
        (
            ("Overview", "dashboard", "admin:index", ""),
            ("Where is user X?", "person_search", "where", "cohorts.view_cohort"),
            ("Help", "help", "help", ""),
        ),
    ),
    (
        "Sending",
        (
            ("Cohorts", "groups", "admin:cohorts_cohort_changelist", "cohorts.view_cohort"),
            (
                "Destinations",
                "outbound",
                "admin:destinations_destination_changelist",
                "destinations.view_destination",
            ),
            ("Syncs", "sync_alt", "admin:syncs_sync_changelist", "syncs.view_sync"),
            ("Runs", "history", "admin:syncs_run_changelist", "syncs.view_run"),
            ("Rejected users", "person_off", "admin:syncs_rejection_changelist", "syncs.view_rejection"),
        ),
    ),
    (
        "People",
        (
            (
                "Profiles",
                "badge",
                "admin:people_profileimport_changelist",
                "people.view_profileimport",
            ),
            (
                "Suppressed people",
                "block",
                "admin:people_suppression_changelist",
                "people.view_suppression",
            ),
            ("Erasures", "delete_forever", "admin:people_erasure_changelist", "people.view_erasure"),
        ),
    ),
    (
        "Operations",
        (
            ("Alerts", "notifications", "admin:syncs_alert_changelist", "syncs.view_alert"),
            (
                "Alert channels",
                "campaign",
                "admin:syncs_alertchannel_changelist",
                "syncs.view_alertchannel",
            ),
            (
                "Sending right now",
                "local_shipping",
                "admin:syncs_driver_changelist",
                "syncs.view_driver",
            ),
            (
                "Proposals",
                "rule",
                "admin:cohortsite_proposal_changelist",
                "cohortsite.view_proposal",
            ),
            ("Retention", "auto_delete", "retention", "syncs.view_run"),
        ),
    ),
    (
        "Events",
        (
            (
                "Events and properties",
                "bar_chart",
                "admin:events_catalogueentry_changelist",
                "events.view_catalogueentry",
            ),
            (
                "Decided names",
                "label",
                "admin:events_namerule_changelist",
                "events.view_namerule",
            ),
            (
                "Imported files",
                "upload_file",
                "admin:events_importedfile_changelist",
                "events.view_importedfile",
            ),
            (
                "Uploads of events",
                "drive_folder_upload",
                "admin:events_eventupload_changelist",
                "events.view_eventupload",
            ),
            ("Corrections", "undo", "admin:events_correction_changelist", "events.view_correction"),
            ("Devices", "devices", "admin:events_devices", "events.view_correction"),
        ),
    ),
    (
        "Receiving",
        (
            ("Workspaces", "inbox", "admin:receiving_workspace_changelist", "receiving.view_workspace"),
            ("API keys", "vpn_key", "admin:receiving_apikey_changelist", "receiving.view_apikey"),
            ("Lists", "list_alt", "admin:receiving_list_changelist", "receiving.view_list"),
            (
                "Requests",
                "receipt_long",
                "admin:receiving_requestlog_changelist",
                "receiving.view_requestlog",
            ),
            (
                "Searches",
                "manage_search",
                "admin:receiving_bodysearch_changelist",
                "receiving.view_bodysearch",
            ),
        ),
    ),
    (
        "Access",
        (
            ("API tokens", "key", "admin:cohortsite_apitoken_changelist", ""),
            ("Users", "manage_accounts", "admin:auth_user_changelist", "auth.view_user"),
            ("Roles", "admin_panel_settings", "admin:auth_group_changelist", "auth.view_group"),
        ),
    ),
)

# Other words by which a page is looked for.
ALSO = {
    "Where is user X?": "person customer why not",
    "Cohorts": "audience segment group members upload file builder holdout sample",
    "Destinations": "partner integration connection credential address who changed match rate identifiers",
    "Syncs": "schedule every morning pause run now",
    "Runs": "failed last night errors history deliveries",
    "Rejected users": "refused failed not taken",
    "Profiles": "e-mail phone traits fields",
    "Suppressed people": "take out everywhere opt out unsubscribe do not send",
    "Erasures": "forget delete person gdpr certificate",
    "Alert channels": "slack teams pagerduty e-mail webhook notify notifications errors tell team",
    "Sending right now": "driver worker wait",
    "Retention": "delete history days",
    "API keys": "partner key give receiving",
    "API tokens": "rest script key",
    "Requests": "calls received log first call",
    "Workspaces": "partner receiving",
    "Users": "people accounts login",
    "Roles": "rights permissions",
}

DAILY = ("", "Sending")


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """unfold's SIDEBAR navigation."""
    return [
        {
            "title": title,
            "separator": bool(title),
            # What one works with each day is open; a folded group opens by a click, and where one is in it.
            "collapsible": title not in DAILY,
            "items": [
                {"title": words, "icon": icon, "link": reverse(name), "permission": _may(permission)}
                for words, icon, name, permission in pages
                if settings.FOUR_EYES or name != "admin:cohortsite_proposal_changelist"
            ],
        }
        for title, pages in GROUPS
    ]


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: not permission or request.user.has_perm(permission)


def account(request: HttpRequest) -> list[dict[str, str]]:
    """unfold's ACCOUNT navigation: the menu at a person's own name."""
    links = [{"title": "Two-factor login", "link": reverse("mfa_index")}]
    if request.user.is_authenticated and request.user.has_usable_password():
        links.append({"title": "Change password", "link": reverse("admin:password_change")})
    return links
