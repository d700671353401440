from django.apps import AppConfig


class DestinationsConfig(AppConfig):
    """Where and how."""

    name = "destinations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from destinations import checks  # noqa: F401  registers them
