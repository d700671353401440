from django.apps import AppConfig


class CohortsConfig(AppConfig):
    """Who."""

    name = "cohorts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cohorts import checks  # noqa: F401  (registers them)
