"""Filters of lists that several apps have."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.utils import parse_datetime_str


class TimeRangeFilter(RangeDateTimeFilter):
    """unfold's filter, whose times have no zone."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for side, lookup in (("from", "gte"), ("to", "lte")):
            day, clock = (self.used_parameters.get(f"{self.parameter_name}_{side}_{n}") for n in (0, 1))
            moment = parse_datetime_str(f"{day} {clock or '00:00:00'}") if day else None
            if moment is not None:
                queryset = queryset.filter(
                    **{f"{self.parameter_name}__{lookup}": timezone.make_aware(moment)}
                )
        return queryset
