"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from events.api import CorrectionViewSet, DeviceViewSet, EventUploadViewSet, ImportViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("event-imports", ImportViewSet)
router.register("event-uploads", EventUploadViewSet)
router.register("event-corrections", CorrectionViewSet)
router.register("event-devices", DeviceViewSet, basename="event-devices")

urlpatterns = router.urls
