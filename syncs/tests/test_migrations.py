"""What people have survives the migrations: rows of an earlier release, taken to this one."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

pytestmark = pytest.mark.slow


@pytest.fixture
def at(transactional_db: Any) -> Any:
    """Return a function that takes the app `syncs` to a migration and gives its models."""

    def migrated(name: str) -> Any:
        executor = MigrationExecutor(connection)
        executor.migrate([("syncs", name)])
        # The other apps stay where they are.
        loader = MigrationExecutor(connection).loader
        others = [node for node in loader.graph.leaf_nodes() if node[0] in ("cohorts", "destinations")]
        return loader.project_state([("syncs", name), *others]).apps

    yield migrated
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_a_sync_of_an_earlier_release_goes_on_unasked_and_its_history_stays(at: Any) -> None:
    before = at("0006_alert_emailed")
    cohort = before.get_model("cohorts", "Cohort").objects.create(key="c", name="C", version=2, last_number=2)
    destination = before.get_model("destinations", "Destination").objects.create(name="d")
    sync = before.get_model("syncs", "Sync").objects.create(
        cohort=cohort, destination=destination, settled_version=1, guard_users=7
    )
    run = before.get_model("syncs", "Run").objects.create(
        sync=sync, trigger="person", from_version=0, to_version=2, state="failed", reason="Bad key.",
        rejected=3, finished_at=timezone.now(), reopened=True,
    )  # fmt: skip
    before.get_model("syncs", "Alert").objects.create(sync=sync, kind="failing", sentence="Bad key.")

    after = at("0007_undelivered_tries_and_causes")
    syncs = after.get_model("syncs", "Sync").objects
    assert syncs.values_list("hold_if_halved", "guard_users", "settled_version").get() == (False, 7, 1)
    kept = after.get_model("syncs", "Run").objects.get(pk=run.pk)
    assert (kept.state, kept.reason, kept.rejected, kept.undelivered) == ("failed", "Bad key.", 3, 0)
    assert (kept.cohort_error, kept.trouble, kept.cancelled_by, kept.tries.count()) == ("", "", "", 0)
    assert after.get_model("syncs", "Alert").objects.get().webhooked_at is None
    other = after.get_model("destinations", "Destination").objects.create(name="e")
    assert syncs.create(cohort_id=cohort.pk, destination=other).hold_if_halved


def test_a_full_run_that_an_earlier_release_left_half_done_is_owed(at: Any) -> None:
    before = at("0008_alerts_of_the_site")
    destination = before.get_model("destinations", "Destination").objects.create(name="d")
    endings = {"cancelled": ["cancelled"], "well": ["succeeded"], "later well": ["failed", "succeeded"]}
    for key, states in endings.items():
        cohort = before.get_model("cohorts", "Cohort").objects.create(
            key=key, name=key, version=2, last_number=2
        )
        sync = before.get_model("syncs", "Sync").objects.create(
            cohort=cohort, destination=destination, settled_version=1, external_name=key
        )
        for state in states:
            before.get_model("syncs", "Run").objects.create(
                sync=sync, trigger="person", mode="full", from_version=1, to_version=2, state=state,
                started_at=timezone.now(),
            )  # fmt: skip
    after = at("0009_full_owed").get_model("syncs", "Sync").objects
    assert list(after.filter(full_owed=True).values_list("external_name", flat=True)) == ["cancelled"]


def test_what_a_partner_holds_is_kept_with_the_fingerprint_of_its_address(at: Any) -> None:
    before = at("0009_full_owed")
    cohort = before.get_model("cohorts", "Cohort").objects.create(key="c", name="C")
    destination = before.get_model("destinations", "Destination").objects.create(name="d")
    before.get_model("syncs", "Sync").objects.create(
        cohort=cohort, destination=destination, settled_version=4, list_id="7", place="d1g35t"
    )
    kept = at("0010_fingerprint").get_model("syncs", "Sync").objects
    assert kept.values_list("settled_version", "list_id", "fingerprint").get() == (4, "7", "d1g35t")


def test_how_alerts_went_out_by_the_settings_is_kept(at: Any, settings: Any) -> None:
    settings.ALERT_EMAILS, settings.ALERT_WEBHOOK_URL = ["ann@example.com"], "https://hooks.example/1"
    before, now = at("0022_proposals"), timezone.now()
    alert = before.get_model("syncs", "Alert").objects.create
    both = alert(
        kind="silent", about="a", sent_at=now, sent_to="ann@example.com, bob@example.com, webhook at h"
    )
    nobody = alert(kind="silent", about="b", sent_at=now, sent_to="", emailed_at=now, webhooked_at=now)
    half = alert(kind="silent", about="c", emailed_at=now, tries=2, next_at=now, error="Webhook: 500")
    old = alert(kind="silent", about="d", sent_at=now)
    after = at("0024_alert_without_its_ways")
    rows = after.get_model("syncs", "AlertDelivery").objects.order_by("alert", "setting")
    assert list(rows.values_list("alert", "setting", "sent_to", "sent_at", "tries", "error")) == [
        (both.pk, "ALERT_EMAILS", "ann@example.com, bob@example.com", now, 0, ""),
        (both.pk, "ALERT_WEBHOOK_URL", "webhook at h", now, 0, ""),
        (half.pk, "ALERT_EMAILS", "", now, 2, ""),
        (half.pk, "ALERT_WEBHOOK_URL", "", None, 2, "Webhook: 500"),
        (old.pk, "ALERT_EMAILS", "", now, 0, ""),
    ]
    assert after.get_model("syncs", "Alert").objects.filter(pk=nobody.pk).exists()
