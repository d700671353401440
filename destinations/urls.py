"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from destinations.api import DestinationViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("destinations", DestinationViewSet)

urlpatterns = router.urls
