from django.apps import AppConfig


class CohortsiteConfig(AppConfig):
    """The project itself: settings, URLs, the dashboard, configuration as code."""

    name = "cohortsite"
    verbose_name = "Cohort Sync"
