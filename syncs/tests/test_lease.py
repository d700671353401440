"""The lease: one driver a destination; a fence that a driver of old cannot pass."""

import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from cohorts import owner
from destinations.models import Destination
from syncs.delivery import lease
from syncs.delivery.statements import Statement
from syncs.models import Driver
from tests import world


@pytest.fixture
def destination(db):
    return Destination.objects.create(name="acme", base_url="http://127.0.0.1:1")


def held_by(destination, name, *, seconds):
    Driver.objects.update_or_create(
        destination=destination,
        defaults={"owner": name, "fence": 7, "until": timezone.now() + timedelta(seconds=seconds)},
    )


def name_of(pid):
    """The name that the process of this pid on this machine has."""
    owner._name_of.cache_clear()
    return owner._name_of(pid)


def test_a_second_driver_does_not_get_the_lease(destination):
    assert lease.take(destination.pk, seconds=90)
    assert lease.take(destination.pk, seconds=90) is None


def test_a_released_lease_is_free_and_its_fence_is_not_used_again(destination):
    first = lease.take(destination.pk, seconds=90)
    first.release()
    second = lease.take(destination.pk, seconds=90)
    assert second.fence == first.fence + 1
    with pytest.raises(lease.LeaseLost):
        first.renew()


def test_a_lease_that_ran_out_is_free_whoever_had_it(destination):
    held_by(destination, "another machine/boot/1/2/3", seconds=-1)
    assert lease.take(destination.pk, seconds=90).fence == 8


def test_another_machines_lease_is_respected_until_it_runs_out(destination):
    held_by(destination, "another machine/boot/1/2/3", seconds=60)
    assert lease.take(destination.pk, seconds=90) is None


def test_a_dead_process_of_this_machine_is_taken_over_at_once(destination):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = name_of(process.pid)
    held_by(destination, name, seconds=60)
    assert lease.take(destination.pk, seconds=90) is None, "it is alive"
    process.communicate(b"\n")
    assert lease.take(destination.pk, seconds=90).fence == 8


def test_an_earlier_boot_of_this_machine_is_dead(destination):
    parts = owner.me().split("/")
    held_by(destination, "/".join([parts[0], "an earlier boot", *parts[2:]]), seconds=60)
    assert lease.take(destination.pk, seconds=90)


def test_renewing_moves_the_end_and_a_taken_lease_cannot_be_renewed_or_released(destination):
    mine = lease.take(destination.pk, seconds=90)
    mine.expires = 0.0
    mine.renew()
    assert 85 < mine.remaining() <= 90
    held_by(destination, "another machine/boot/1/2/3", seconds=60)
    with pytest.raises(lease.LeaseLost):
        mine.renew()
    mine.release(next_at=timezone.now())
    driver = Driver.objects.get(pk=destination.pk)
    assert driver.owner == "another machine/boot/1/2/3"
    assert driver.next_at is None


@pytest.mark.django_db(transaction=True)
def test_what_goes_with_a_renewal_is_written_by_the_owner_alone():
    destination = world.destination("http://127.0.0.1:9")
    mine = lease.take(destination.pk, seconds=90)
    said = Statement("UPDATE syncs_driver SET next_reason = %s", ["here I was"])
    mine.renew_and([said])
    assert Driver.objects.get().next_reason == "here I was"
    held_by(destination, "another machine/boot/1/2/3", seconds=60)
    with pytest.raises(lease.LeaseLost):
        mine.renew_and([Statement(said.sql, ["here I am again"])])
    driver = Driver.objects.get()
    assert (driver.next_reason, driver.owner) == ("here I was", "another machine/boot/1/2/3")


@pytest.mark.django_db(transaction=True)
def test_an_error_of_what_goes_with_a_renewal_is_not_taken_for_a_lost_lease():
    mine = lease.take(world.destination("http://127.0.0.1:9").pk, seconds=90)
    with pytest.raises(DatabaseError):
        mine.renew_and([Statement("UPDATE syncs_driver SET no_such_column = %s", [1])])
    assert not connection.in_atomic_block


def test_a_parked_destination_is_not_taken_before_its_time(destination):
    lease.take(destination.pk, seconds=90).release(
        next_at=timezone.now() + timedelta(seconds=60), reason="busy"
    )
    assert lease.take(destination.pk, seconds=90) is None
    Driver.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    assert lease.take(destination.pk, seconds=90)
    assert Driver.objects.get(pk=destination.pk).next_at is None


@pytest.mark.django_db(transaction=True)
def test_of_eight_threads_one_gets_the_lease():
    destination = Destination.objects.create(name="acme", base_url="http://127.0.0.1:1")
    barrier, got = threading.Barrier(8), []

    def take():
        barrier.wait()
        got.append(lease.take(destination.pk, seconds=90))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([found for found in got if found]) == 1
