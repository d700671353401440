from django.apps import AppConfig


class SyncsConfig(AppConfig):
    """When and what."""

    name = "syncs"
    default_auto_field = "django.db.models.BigAutoField"
