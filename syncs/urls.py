"""Included at /api/v1/."""

from rest_framework.routers import SimpleRouter

from syncs.api import RunViewSet, SyncViewSet
from syncs.channels_api import ChannelViewSet

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("syncs", SyncViewSet)
router.register("runs", RunViewSet)
router.register("alert-channels", ChannelViewSet)

urlpatterns = router.urls
