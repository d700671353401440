"""The states of things in this app, in named groups."""

from django.db.models import TextChoices


class RunMode(TextChoices):
    CHANGES = "changes", "Changes"
    FULL = "full", "Full"
    EMPTY = "empty", "Emptying"
    REPAIR = "repair", "Repair"


# What a person, a command or a script can ask for by name; a repair comes from a comparison.
ASKED_MODES = [RunMode.CHANGES, RunMode.FULL, RunMode.EMPTY]


class Trigger(TextChoices):
    PERSON = "person", "By hand"
    COMMAND = "command", "Command"
    SCHEDULE = "schedule", "Schedule"
    API = "api", "REST API"
    LIST_GONE = "list_gone", "The partner lost its list"
    RENAMED = "renamed", "The name at the partner changed"
    SUPPRESSED = "suppressed", "People were suppressed, or are not any more"
    CAUGHT_UP = "caught_up", "The cohort had moved on"


class RunState(TextChoices):
    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    PARKED = "parked", "Parked"
    HELD = "held", "Held for approval"
    SUCCEEDED = "succeeded", "Succeeded"
    PARTIAL = "partial", "Partly delivered"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


# A sync has at most one open run; the others have ended.
OPEN_RUNS = [RunState.PENDING, RunState.RUNNING, RunState.PARKED, RunState.HELD]
# What a driver may go on with.
DRIVABLE_RUNS = [RunState.PENDING, RunState.RUNNING, RunState.PARKED]
# What nobody is sending: it can be ended without asking a driver.
UNDRIVEN = [RunState.PENDING, RunState.PARKED, RunState.HELD]
DONE_RUNS = [RunState.SUCCEEDED, RunState.PARTIAL]


class BatchState(TextChoices):
    SENDING = "sending", "Sending"
    PROCESSING = "processing", "Being processed"
    DELIVERED = "delivered", "Delivered"
    NARROWED = "narrowed", "Delivered in parts"
    REJECTED = "rejected", "Rejected"
    UNDELIVERED = "undelivered", "Not delivered"


# What a driver has to come back to.
OPEN_BATCHES = [BatchState.SENDING, BatchState.PROCESSING]


class Step(TextChoices):
    """What a batch does at the partner."""

    CREATE = "create", "Create list"
    ADD = "add", "Add"
    REMOVE = "remove", "Remove"
    CHANGE = "change", "Add and remove"


# What a batch may do to a user; of a change, both are within its range.
ADDING = [Step.ADD, Step.CHANGE]
REMOVING = [Step.REMOVE, Step.CHANGE]
MOVING = [Step.ADD, Step.REMOVE, Step.CHANGE]


class RejectionKind(TextChoices):
    """Rejected: the partner answered, and did not take this user. Undelivered: no request for the user went
    through, though the partner is alive; nothing is wrong with the user, as far as anybody knows.
    """

    REJECTED = "rejected", "Rejected by the partner"
    UNDELIVERED = "undelivered", "Not delivered"


class RejectionState(TextChoices):
    WAITING = "waiting", "Will be tried again"
    SPENT = "spent", "Tried often enough"
    DISMISSED = "dismissed", "Dismissed by a person"


class CompareState(TextChoices):
    WAITING = "waiting", "Waiting"
    READING = "reading", "Reading"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


OPEN_COMPARISONS = [CompareState.WAITING, CompareState.READING]


class DifferenceKind(TextChoices):
    """What a partner has otherwise than it should. Foreign: a stranger whose id would be changed on its way
    by the destination's templates (hashed, say), so that no remove can name them.
    """

    MISSING = "missing", "Missing"
    STRANGER = "stranger", "Stranger"
    FOREIGN = "foreign", "Stranger who cannot be named"


class ChannelKind(TextChoices):
    """A way by which people are told."""

    SLACK = "slack", "Slack"
    TEAMS = "teams", "Microsoft Teams"
    PAGERDUTY = "pagerduty", "PagerDuty"
    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Signed webhook"


class Severity(TextChoices):
    """How bad it is, in PagerDuty's words; the worst last."""

    INFO = "info", "Everything"
    WARNING = "warning", "Warnings, and what is worse"
    ERROR = "error", "Errors, and what is worse"
    CRITICAL = "critical", "Only what is critical"


class AlertKind(TextChoices):
    """What people are notified of, once when it begins and once when it is over."""

    FAILING = "failing", "Failing"
    PAUSED = "paused", "Paused"
    HELD = "held", "Held for approval"
    MISSED = "missed", "Missed its schedule"
    UNATTENDED = "unattended", "Waits for a worker"
    COHORT = "cohort", "Cohort not calculated"
    SILENT = "silent", "Silence"
    DIFFERS = "differs", "Partner differs"
    SET_BACK = "set_back", "Set back for days"
    PROPOSED = "proposed", "Waits for a second person"
    RECOVERED = "recovered", "Recovered"
