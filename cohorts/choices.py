"""The states of things in this room, in named groups."""

from django.db.models import TextChoices


class SourceKind(TextChoices):
    UPLOAD = "upload", "Uploaded file"
    API = "api", "REST API"


class VersionState(TextChoices):
    CALCULATING = "calculating", "Calculating"
    PUBLISHED = "published", "Published"
    HELD = "held", "Held for approval"
    REFUSED = "refused", "Refused"
    REPLACED = "replaced", "Replaced while held"
    FAILED = "failed", "Failed"


class UploadMode(TextChoices):
    REPLACE = "replace", "Replace: the file is the whole cohort"
    ADD = "add", "Add: the file's users join the cohort"
    REMOVE = "remove", "Remove: the file's users leave the cohort"


class UploadState(TextChoices):
    WAITING = "waiting", "Waiting for the worker"
    IMPORTING = "importing", "Importing"
    DONE = "done", "Imported"
    FAILED = "failed", "Failed"
