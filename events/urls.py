"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from events.api import CorrectionViewSet, ImportViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("event-imports", ImportViewSet)
router.register("event-corrections", CorrectionViewSet)

urlpatterns = router.urls
