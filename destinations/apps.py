from django.apps import AppConfig


class DestinationsConfig(AppConfig):
    """Where and how."""

    name = "destinations"
    default_auto_field = "django.db.models.BigAutoField"
