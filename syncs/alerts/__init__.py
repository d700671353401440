"""Telling people when a sync begins to need them and when it is well again.

telling       compares what each sync needs people for with the last notification; writes an Alert
routing       which channels an alert goes out by
by_settings   the channels that settings name, alongside those of the admin
sending       sends it: grouped, in quiet hours not, reminded, resolved; tries again what failed
links         which page a message leads to
vendors       what Slack, Teams, PagerDuty and a webhook want to be posted
posting       posts that, signed or not
times         quiet hours, and when the next summary is due
weekly        the summary of a week
"""

from syncs.alert_models import TRIES
from syncs.alerts.posting import post_signed, sign
from syncs.alerts.sending import send_waiting
from syncs.alerts.telling import tell_changes, tell_of_site

__all__ = ["TRIES", "post_signed", "send_waiting", "sign", "tell_changes", "tell_of_site"]
