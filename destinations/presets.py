"""What a new destination is filled with: the partners' folders, and an operator's own (PARTNERS_DIR)."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from destinations.partners.folder import HERE, Partner, read_all


class _Presets(Mapping[str, Partner]):
    """Partners by slug. The folders are read when somebody asks, once for each PARTNERS_DIR."""

    def __getitem__(self, slug: str) -> Partner:
        return self._all()[slug]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Partner]:
        return _read(str(settings.PARTNERS_DIR or ""))


PRESETS: Mapping[str, Partner] = _Presets()


@lru_cache(maxsize=4)
def _read(own: str) -> Mapping[str, Partner]:
    return read_all(HERE, *([Path(own)] if own else []))


def preset_choices() -> list[tuple[str, str]]:
    """Return the presets for a field's choices: a function, so that a new one needs no migration."""
    return [(slug, partner.label) for slug, partner in PRESETS.items()]
