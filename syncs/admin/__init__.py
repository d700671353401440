"""The admin's pages of this app. History is shown and never edited; what a person can do is an action."""

from syncs.admin import hanging
from syncs.admin.alert import AlertAdmin
from syncs.admin.channel import ChannelAdmin
from syncs.admin.driver import DriverAdmin
from syncs.admin.rejection import RejectionAdmin
from syncs.admin.run import RunAdmin
from syncs.admin.sync import SyncAdmin

__all__ = ["AlertAdmin", "ChannelAdmin", "DriverAdmin", "RejectionAdmin", "RunAdmin", "SyncAdmin", "hanging"]
