"""The demo's data has an end; what people try on its cohorts afterwards must not empty them."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from cohorts.calculate import calculate
from cohorts.models import Cohort
from cohortsite.apply import apply
from cohortsite.config_file import load
from demo.demo_run import CONFIG, COUNTED, EVENTS, KEY_VARIABLE, STEPS, earlier
from events.importing import import_file

pytestmark = pytest.mark.django_db


@pytest.fixture
def imported(settings, monkeypatch, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    monkeypatch.setenv(KEY_VARIABLE, "a key")
    apply(load(CONFIG.read_bytes()))
    for workspace, file, mapped in EVENTS:
        import_file(workspace, file, mapped)


def test_calculate_now_finds_whom_the_demo_found_today_and_in_a_year(imported):
    as_of = {key: day for day, keys in STEPS for key in keys}
    assert set(as_of) == set(COUNTED)
    for key, day in as_of.items():
        cohort = Cohort.objects.get(key=key)
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        assert calculate(cohort, as_of=end).size == len(COUNTED[key](day)) > 0, key
        for now in (timezone.now(), timezone.now() + timedelta(days=366)):
            again = calculate(cohort, as_of=now)
            assert (again.entered, again.left) == (0, 0), (key, now)


def test_only_the_days_of_a_definition_are_moved():
    window = {"from": "1998-04-02", "to": "1998-06-30"}
    definition = {"version": 1, "where": {"all": [{"performed": {"event": "from", "window": window}}]}}
    moved = earlier(definition, timedelta(days=456))
    assert moved["where"]["all"][0]["performed"]["window"] == {"from": "1997-01-01", "to": "1997-03-31"}
    assert earlier(definition, timedelta()) == definition
