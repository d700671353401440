"""The site's addresses. What partners call is at the root: see receiving/urls.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from cohortsite.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("cohorts.urls")),
    path("", include("receiving.urls")),
]
