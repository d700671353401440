"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from syncs.api import RunViewSet, SyncViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("syncs", SyncViewSet)
router.register("runs", RunViewSet)

urlpatterns = router.urls
