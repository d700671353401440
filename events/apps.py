from django.apps import AppConfig


class EventsConfig(AppConfig):
    """What people did."""

    name = "events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from events import checks  # noqa: F401  (registers them)
