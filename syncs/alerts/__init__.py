"""Telling people when a sync begins to need them and when it is well again.

telling       compares what each sync needs people for with the last notification; writes an Alert
routing       which channels an alert goes out by
by_settings   sends it by e-mail and webhook, as the settings say, and tries again what failed
sending       sends it by the channels of the admin: grouped, in quiet hours not, reminded, resolved
links         which page a message leads to
vendors       what Slack, Teams, PagerDuty and a webhook want to be posted
posting       posts that, signed or not
times         quiet hours, and when the next summary is due
weekly        the summary of a week
"""

from datetime import datetime

from syncs.alert_models import TRIES
from syncs.alerts import by_settings, sending
from syncs.alerts.by_settings import recipients
from syncs.alerts.posting import post_signed, sign
from syncs.alerts.telling import tell_changes, tell_of_site

__all__ = ["TRIES", "post_signed", "recipients", "send_waiting", "sign", "tell_changes", "tell_of_site"]


def send_waiting(now: datetime) -> int:
    """Send what waits, by the settings and by the channels; return how many alerts and messages went out."""
    return by_settings.send_by_settings(now) + sending.send_by_channels(now)
