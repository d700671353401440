"""The states of things in this app, in named groups."""

from django.db.models import TextChoices


class SourceKind(TextChoices):
    UPLOAD = "upload", "Uploaded file"
    API = "api", "REST API"
    BEHAVIORAL = "behavioral", "What people did"
    QUERY = "query", "Query of a database"
    RECEIVED = "received", "What a workspace receives"


# Sources that a refresh calculates; the others are given their members.
CALCULATED = [SourceKind.BEHAVIORAL, SourceKind.QUERY, SourceKind.RECEIVED]


class WhenOver(TextChoices):
    """What becomes of a cohort at the end of its active window."""

    EMPTY = "empty", "It is emptied"
    LEAVE = "leave", "It stays as it is"


class VersionState(TextChoices):
    CALCULATING = "calculating", "Calculating"
    PUBLISHED = "published", "Published"
    HELD = "held", "Held for approval"
    REFUSED = "refused", "Refused"
    REPLACED = "replaced", "Replaced while held"
    FAILED = "failed", "Failed"


class CalculationState(TextChoices):
    """What became of a calculation that somebody asked for."""

    WAITING = "waiting", "Waiting for the worker"
    CALCULATING = "calculating", "Calculating"
    PUBLISHED = "published", "Published"
    HELD = "held", "Held for approval"
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


class PreviewState(TextChoices):
    WAITING = "waiting", "Waiting for the worker"
    RUNNING = "running", "Calculating"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class ScheduleKind(TextChoices):
    MANUAL = "manual", "By hand only"
    ONCE = "once", "Once, at a time"
    HOURLY = "hourly", "Every hour"
    DAILY = "daily", "Every day at a time"
    CRON = "cron", "Cron expression"
    CHANGES = "changes", "Whenever it changes"
