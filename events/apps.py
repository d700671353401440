from django.apps import AppConfig


class EventsConfig(AppConfig):
    """What people did."""

    name = "events"
    default_auto_field = "django.db.models.BigAutoField"
