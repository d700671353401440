"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from people.api import SuppressionViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("suppressions", SuppressionViewSet)

urlpatterns = router.urls
