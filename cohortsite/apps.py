from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class CohortsiteConfig(AppConfig):
    """The project itself: settings, URLs, the dashboard, configuration as code."""

    name = "cohortsite"
    verbose_name = "Cohort Sync"


class AdminConfig(DjangoAdminConfig):
    default_site = "cohortsite.site.Site"
    default = False
