"""Cohorts that are made of other cohorts: in which order they refresh, and that they form no circle."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from events.engine_errors import EngineError


class CircularReference(EngineError):
    code = "circular"


def refresh_order(references: Mapping[str, set[str]]) -> list[str]:
    """Return the keys so that each comes after those it refers to.

    `references` gives, for each cohort's key, the keys its definition names. Raises CircularReference.
    """
    sorter = TopologicalSorter({key: sorted(references[key]) for key in sorted(references)})
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise CircularReference(
            f"These cohorts refer to each other in a circle: {circle}. Take one reference out."
        ) from None
