"""Which files of a folder hold its events, each event once: decided by what the files say of themselves.

A file's *roots* are the files in its ancestry that were merged from none; they say which events it holds. No
root may be held by two chosen files, or its events would count twice; and of two files that hold the same
roots, the one with more corrections in its ancestry is right: what was taken out shall stay out.
"""

from collections.abc import Iterable, Mapping

from events.custody import Description


class Lineage:
    def __init__(self, described: Mapping[str, Description]) -> None:
        self.described = described
        self._roots: dict[str, frozenset[str]] = {}
        self._corrections: dict[str, frozenset[str]] = {}
        self._imports: dict[str, frozenset[str]] = {}

    def parents(self, name: str) -> tuple[str, ...]:
        return self.described[name].merged_from if name in self.described else ()

    def roots(self, name: str) -> frozenset[str]:
        if name not in self._roots:
            parents = self.parents(name)
            self._roots[name] = self.roots_of(parents) if parents else frozenset([name])
        return self._roots[name]

    def roots_of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*map(self.roots, names))

    def corrections(self, name: str) -> frozenset[str]:
        """The corrected files in a file's ancestry, itself included."""
        if name not in self._corrections:
            own = [name] if name in self.described and self.described[name].corrected else []
            self._corrections[name] = self.corrections_of(self.parents(name)).union(own)
        return self._corrections[name]

    def corrections_of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*map(self.corrections, names))

    def imports(self, name: str) -> frozenset[str]:
        """The keys of the imports that a file or its ancestors hold."""
        if name not in self._imports:
            description = self.described.get(name)
            own = [one["key"] for one in description.imports] if description else []
            self._imports[name] = frozenset(own).union(*map(self.imports, self.parents(name)))
        return self._imports[name]


class Choice:
    """The files to list: begins with those that are listed, and takes others in one by one."""

    def __init__(self, lineage: Lineage, whole: frozenset[str], listed: Iterable[str]) -> None:
        self.lineage, self.whole = lineage, whole
        self.chosen = set(listed)
        self.problems: list[str] = []

    def take_all(self) -> None:
        """Take in what the whole files add. The largest come first: what they were made of adds nothing."""
        for name in sorted(self.whole - self.chosen, key=lambda n: (-len(self.lineage.roots(n)), n)):
            self.take(name)

    def take(self, name: str) -> None:
        roots, corrections = self.lineage.roots(name), self.lineage.corrections(name)
        if taken_out := self.corrected_elsewhere(name):
            self.problems.append(
                f"{name} is not listed: it holds rows that were taken out, and {taken_out}, which is without "
                "them, is missing or damaged."
            )
            return
        sharing = {other for other in self.chosen if self.lineage.roots(other) & roots}
        covered, corrected = self.lineage.roots_of(sharing), self.lineage.corrections_of(sharing)
        if not roots <= covered or corrections - corrected:
            if covered <= roots and corrected <= corrections:
                self.chosen = (self.chosen - sharing) | {name}
            else:
                self.take_parents(name, sharing)

    def take_parents(self, name: str, sharing: set[str]) -> None:
        """A file that shares only some events with chosen ones is taken in by its parts."""
        parents = self.lineage.parents(name)
        if not parents or not self.whole.issuperset(parents):
            others = ", ".join(sorted(sharing))
            self.problems.append(f"{name} shares events with {others}, and cannot be told apart from it.")
            return
        for parent in parents:
            self.take(parent)

    def corrected_elsewhere(self, name: str) -> str | None:
        """Return a file that was corrected after `name` was made, and is gone with what was made of it."""
        roots, corrections = self.lineage.roots(name), self.lineage.corrections(name)
        held = self.lineage.corrections_of(self.chosen | self.whole)
        for other in self.lineage.described:
            lacking = self.lineage.corrections(other) - corrections - held
            if lacking and self.lineage.roots(other) & roots:
                return min(lacking)
        return None
