"""The site's addresses. What partners call is at the root: see receiving/urls.py."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from cohortsite import about_person, help, proposals_api, retention, taking_out, tour, where
from cohortsite.login import not_allowed, nothing_there, too_many_requests
from cohortsite.metrics import metrics
from cohortsite.rest_errors import not_found

admin.autodiscover()
# The admin's own form knows neither limits nor second factors.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
handler403 = not_allowed
handler404 = nothing_there
handler429 = too_many_requests

urlpatterns = [
    path("metrics", metrics),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/where/download/", admin.site.admin_view(about_person.download), name="about-person"),
    path("admin/where/take-out/", admin.site.admin_view(taking_out.page), name="take-out"),
    path("admin/retention/", admin.site.admin_view(retention.page), name="retention"),
    path("admin/tour/<int:number>/", admin.site.admin_view(tour.go), name="tour"),
    path("admin/tour/leave/", admin.site.admin_view(tour.leave), name="tour-leave"),
    path("admin/where/", admin.site.admin_view(where.page), name="where"),
    path("admin/", admin.site.urls),
    path("help/", admin.site.admin_view(help.search), name="help"),
    path("help/<slug:name>/", admin.site.admin_view(help.page), name="help-page"),
    path("account/", include("cohortsite.account_urls")),
    path("api/v1/", include("events.urls")),
    path("api/v1/", include("people.urls")),
    path("api/v1/", include("cohorts.urls")),
    path("api/v1/", include("destinations.urls")),
    path("api/v1/", include("syncs.urls")),
    path("api/v1/", include(proposals_api.router.urls)),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    # The split view has no inline script, so that the policy of the pages is the docs' too.
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    re_path(r"^api/", not_found),
    # For who asks without having read a page; the pages name the file.
    path("favicon.ico", RedirectView.as_view(url=static("cohortsite/favicon.svg"))),
    path("", include("receiving.urls")),
]
