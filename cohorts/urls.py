"""Included at /api/v1/."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from cohorts.api import CohortViewSet, MembersView
from cohorts.changes_api import ChangesView
from cohorts.names_api import NameViewSet
from cohorts.overlap_api import OverlapView

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("cohorts", CohortViewSet)
router.register("event-names", NameViewSet)

urlpatterns = [
    re_path(r"^cohorts/(?P<key>[-a-zA-Z0-9_]+)/members/?$", MembersView.as_view(), name="cohort-members"),
    re_path(r"^cohorts/(?P<key>[-a-zA-Z0-9_]+)/changes/?$", ChangesView.as_view(), name="cohort-changes"),
    re_path(r"^overlap/?$", OverlapView.as_view(), name="cohort-overlap"),
    path("", include(router.urls)),
]
