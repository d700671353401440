"""Values as the pages show them: escaped, each in its own direction of writing."""

from datetime import datetime

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cohorts.schedule import InvalidSchedule
from pagekit.times import ago
from pagekit.times import exactly as exactly
from pagekit.times import when as when
from syncs.models import Driver, Run, Sync
from syncs.status.state import State

OWNER_PARTS = 5


def label(text: str, tone: str, sentence: str = "", *, title: str = "") -> SafeString:
    """Return a coloured label, and the sentence that goes with it; `title`, where no sentence fits."""
    classes = f"cs-label cs-{tone}"
    if title:
        return format_html('<span class="{}" title="{}">{}</span>', classes, title, text)
    if not sentence:
        return format_html('<span class="{}">{}</span>', classes, text)
    return format_html(
        '<span class="cs-state"><span class="{}">{}</span> <span class="cs-sentence">{}</span></span>',
        classes,
        text,
        sentence,
    )


def state_label(state: State) -> SafeString:
    return label(state.label, state.tone, state.sentence)


def pair(sync: Sync) -> SafeString:
    """Return "cohort → destination", either of which may be written from right to left."""
    return format_html(
        '<span class="cs-pair"><bdi>{}</bdi> → <bdi>{}</bdi></span>', sync.cohort.name, sync.destination
    )


def user(user_id: str) -> SafeString:
    """Return a user id as text, whatever it is made of."""
    return format_html('<bdi class="cs-user">{}</bdi>', user_id)


def schedule_words(sync: Sync) -> str:
    try:
        return sync.schedule().describe()
    except InvalidSchedule as error:
        return f"Not valid: {error.message}"


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}" class="cs-link">{}</a>', url, text)


def run_url(run_id: int) -> str:
    return reverse("admin:syncs_run_change", args=[run_id])


def sync_url(sync_id: int) -> str:
    return reverse("admin:syncs_sync_overview", args=[sync_id])


def rejections_url(query: str) -> str:
    return f"{reverse('admin:syncs_rejection_changelist')}?{query}"


def duration(run: Run) -> float | None:
    """Return a run's seconds, as of now while it goes on; None before it began."""
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds() if run.started_at else None


def driven_by(driver: Driver | None, now: datetime) -> str:
    """Return which process holds the destination's lease, in words; '' when nobody does."""
    if driver is None or driver.until is None:
        return ""
    parts = driver.owner.split("/")
    who = (
        f"process {parts[3]} on {parts[0].rpartition('@')[2]}" if len(parts) == OWNER_PARTS else driver.owner
    )
    if driver.until <= now:
        return f"{who}, whose lease ran out {ago(driver.until, now)}"
    return f"{who}, until {timezone.localtime(driver.until):%H:%M:%S} unless it renews its lease"
