"""What follows for cohorts and syncs when the list of suppressed people has changed."""

import logging
from contextlib import suppress

from django.db.models import Exists, F, OuterRef, Q

from cohorts import refresh
from cohorts.models import Cohort, CohortVersion
from people import suppression
from people.identifiers import Kind
from people.models import Suppression
from syncs.choices import Trigger
from syncs.lifecycle import CannotRun, start
from syncs.models import Run, Sync

log = logging.getLogger(__name__)


def take_effect() -> list[Run]:
    """Bring every cohort up to date with the list, and begin the runs that were asked for at once.

    A cohort that has a version held for approval waits for that decision: until then it cannot be sent
    (see lifecycle.start) if somebody in it is suppressed.
    """
    number, busy = suppression.number(), False
    for cohort in Cohort.objects.filter(version__gt=0, suppressions__lt=number, held_number=None):
        try:
            refresh.apply_suppressions(cohort.pk)
        except refresh.CohortBusy:
            busy = True
        except refresh.RefreshError as error:
            log.warning("Suppressed people were not taken out of %s: %s", cohort.key, error)
    asked = Suppression.objects.filter(at_once=True, changed__lte=number)
    if busy or not asked.exists():
        return []
    # Of somebody who is named by an address, a projection alone knows whose it is.
    named_otherwise = asked.exclude(kind=Kind.USER_ID).exists()
    concerned = _concerned(number if named_otherwise else 0)
    runs = [run for sync in concerned if (run := _started(sync))]
    asked.update(at_once=False)
    return runs


def _concerned(number: int) -> list[Sync]:
    """Return the syncs whose partner does not know yet of a version that the list made.

    And those with a projection that has not seen the list's changes up to a number.
    """
    made = CohortVersion.objects.filter(cohort=OuterRef("cohort"), source=refresh.BY_SUPPRESSION)
    unknown = Q(Exists(made.filter(number__gt=OuterRef("settled_version"))), projection=None)
    # What a projection is made of, and whether the partner has that.
    unknown |= Q(Exists(made.filter(number__gt=OuterRef("projection__projected_version"))))
    unknown |= Q(projection__version__gt=F("settled_version")) | Q(projection__suppressions__lt=number)
    # A sync that never ran holds nobody, and gets nobody before its time.
    syncs = Sync.objects.filter(unknown, archived_at=None, enabled=True)
    return list(syncs.exclude(settled_version=0, dirty=False))


def _started(sync: Sync) -> Run | None:
    with suppress(CannotRun):
        return start(sync, trigger=Trigger.SUPPRESSED)
    return None
