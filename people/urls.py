"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from people.api import ErasureViewSet, SuppressionViewSet
from people.profile_uploads_api import ProfileUploadViewSet
from people.profiles_api import ProfileViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("suppressions", SuppressionViewSet)
router.register("erasures", ErasureViewSet)
router.register("profile-uploads", ProfileUploadViewSet)
router.register("profiles", ProfileViewSet, basename="profile")

urlpatterns = router.urls
