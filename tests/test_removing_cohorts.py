"""A cohort that something else needs is not deleted, and whoever tries is told by what it is needed."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from cohorts.choices import SourceKind
from cohorts.models import Cohort
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def of(key: str, named: str) -> Cohort:
    definition = {"version": 1, "where": {"not": {"cohort": named}}}
    return Cohort.objects.create(
        key=key, name=key.title(), source_kind=SourceKind.BEHAVIORAL, definition=definition
    )


def test_by_rest__a_cohort_that_a_definition_names_is_a_conflict_that_names_who(root: User) -> None:
    world.cohort(["u1"], key="base", name="Base")
    of("top", "base")
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(root)
    reply = client.delete("/api/v1/cohorts/base")
    assert (reply.status_code, reply.json()["error"]) == (
        409,
        {
            "code": "in_use",
            "message": "The definition of Top (top) names Base. Take it out of there, or delete them, first.",
        },
    )
    assert client.delete("/api/v1/cohorts/top").status_code == 204
    assert client.delete("/api/v1/cohorts/base").status_code == 204


def test_in_the_admin__the_page_names_the_cohorts_and_syncs_that_need_it(root: User, client: Client) -> None:
    base = world.cohort(["u1"], key="base", name="Base")
    of("top", "base")
    world.sync(base, world.destination("https://partner.example", name="acme"))
    client.force_login(root)
    url = reverse("admin:cohorts_cohort_delete", args=[base.pk])
    for reply in (client.get(url), client.post(url, {"post": "yes"})):
        page = reply.content.decode()
        assert "Top, whose definition names it" in page
        assert "base:acme" in page
        assert "permission" not in page
    assert Cohort.objects.filter(pk=base.pk).exists()
