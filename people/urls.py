"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from people.api import ErasureViewSet, SuppressionViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("suppressions", SuppressionViewSet)
router.register("erasures", ErasureViewSet)

urlpatterns = router.urls
