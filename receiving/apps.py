from django.apps import AppConfig


class ReceivingConfig(AppConfig):
    """The partner's side."""

    name = "receiving"
    default_auto_field = "django.db.models.BigAutoField"
