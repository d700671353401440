from typing import Any

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class CohortsiteConfig(AppConfig):
    """The project itself: settings, URLs, the dashboard, configuration as code."""

    name = "cohortsite"
    verbose_name = "Cohort Sync"

    def ready(self) -> None:
        """Tie what is received to the cohorts that follow it, and to people: no app knows the other."""
        from cohorts import received
        from cohortsite import checks, login_checks  # noqa: F401  (registers them)
        from pagekit import approval
        from people import profiles
        from receiving.offered import Offered
        from receiving.profiles import Profiles

        approval.ask(_needed)
        profiles.keep(Profiles())
        received.offer = Offered(received.Unavailable, received.Exchanged, received.News)


def _needed(row: Any, user: Any) -> bool:
    from cohortsite.proposing import needed  # here: most commands configure nothing

    return needed(row, user)


class AdminConfig(SimpleAdminConfig):
    """The admin, whose pages `urls.py` finds: a command that shows none does not import them."""

    default_site = "cohortsite.site.Site"
    default = False

    def ready(self) -> None:
        checks.register(check_pages, checks.Tags.admin)


def check_pages(app_configs: Any, **options: Any) -> list[checks.CheckMessage]:
    from django.contrib import admin

    admin.autodiscover()
    return [*check_dependencies(**options), *check_admin_app(app_configs, **options)]
