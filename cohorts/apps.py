from django.apps import AppConfig


class CohortsConfig(AppConfig):
    """Who."""

    name = "cohorts"
    default_auto_field = "django.db.models.BigAutoField"
