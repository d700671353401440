"""Whom somebody may give which rights: nobody gives more than they have."""

from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.db.models import Exists, OuterRef, Q, QuerySet


def permissions_of(user: Any) -> QuerySet[Permission]:
    """What `user` has, by a role or alone; of a superuser, everything."""
    found = Permission.objects.select_related("content_type")
    if user.is_superuser:
        return found
    keys = found.filter(Q(user=user) | Q(group__user=user)).values("pk")
    return found.filter(pk__in=keys)


def groups_of(user: Any) -> QuerySet[Group]:
    """The roles that hold nothing that `user` has not."""
    beyond = Permission.objects.filter(group=OuterRef("pk")).exclude(pk__in=permissions_of(user).values("pk"))
    return Group.objects.all() if user.is_superuser else Group.objects.exclude(Exists(beyond))


def may_manage(user: Any, other: User) -> bool:
    """Say whether `user` has all that `other` has, so that acting in their place would gain nothing."""
    if user.is_superuser:
        return True
    if other.is_superuser:
        return False
    return not permissions_of(other).exclude(pk__in=permissions_of(user).values("pk")).exists()
