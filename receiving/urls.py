"""The addresses that partners call, at the site's root. A final slash more is taken: see middleware.py."""

from django.urls import path

from receiving import views

# Segment's addresses, and the type of an item without one. The short ones are of its clients in browsers.
SEGMENT: dict[str, str | None] = {
    "batch": None,
    "b": None,
    "import": None,
    "identify": "identify",
    "i": "identify",
    "track": "track",
    "t": "track",
    **dict.fromkeys(("page", "p"), "page"),
    **dict.fromkeys(("screen", "s"), "screen"),
    **dict.fromkeys(("group", "g"), "group"),
    **dict.fromkeys(("alias", "a"), "alias"),
}

urlpatterns = [
    path("lists", views.ListsView.as_view()),
    path("lists/<str:list_id>", views.ListView.as_view()),
    path("lists/<str:list_id>/add", views.ListAddView.as_view()),
    path("lists/<str:list_id>/remove", views.ListRemoveView.as_view()),
    path("lists/<str:list_id>/members", views.ListMembersView.as_view()),
    path("lists/<str:list_id>/digest", views.ListDigestView.as_view()),
    path("identify", views.IdentifyView.as_view(default_type="identify")),
    path("batch", views.BatchView.as_view()),
    path("track", views.IdentifyView.as_view(default_type="track")),
    *(path(f"v1/{name}", views.SegmentView.as_view(default_type=kind)) for name, kind in SEGMENT.items()),
    *(path(f"v1/{name}", views.MetricsView.as_view(default_type="metrics")) for name in ("metrics", "m")),
    path("2/httpapi", views.AmplitudeEventsView.as_view()),
    path("mixpanel", views.MixpanelView.as_view()),
    path("users", views.UsersView.as_view()),
    path("traits", views.TraitsView.as_view()),
    path("traits/members", views.TraitMembersView.as_view()),
    path("traits/digest", views.TraitDigestView.as_view()),
]
