"""The site's addresses. What partners call is at the root: see receiving/urls.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from cohortsite.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("cohorts.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    # Split, because its script would otherwise stand in the page, where the policy forbids it.
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    path("", include("receiving.urls")),
]
