"""The search in the sidebar: whatever has what one types in its name, what one may want to do with it, and
what the documents say of it.

Nine queries at most, a few rows of each kind. Nothing is kept between searches: what was just made is found.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from cohorts.models import Cohort
from cohortsite import navigation, taking_out
from cohortsite.help import matching
from destinations.models import Destination
from destinations.presets import preset_choices
from syncs.models import Run, Sync

# Of each kind.
MOST = 5
# By the word that one types before a sync's name: the action, and what it is called.
ACTIONS = {
    "run": ("run", "Run now"),
    "pause": ("pause", "Pause"),
    "resume": ("resume", "Resume"),
    "cancel": ("cancel", "Cancel"),
}
ON_DESTINATIONS = {
    "pause": (("pause", "Pause, until somebody resumes it"), ("pause-until", "Pause until a time")),
    "resume": (("resume", "Resume, for all of its syncs"),),
}
# What one may want to do, by words for it: title, address, query, permission.
TO_DO = (
    (
        "new sync send schedule file each every morning",
        "New sync",
        "admin:syncs_sync_new",
        "",
        "syncs.add_sync",
    ),
    (
        "new cohort audience who did not buy added cart in days holdout percent",
        "New cohort",
        "admin:cohorts_cohort_add",
        "",
        "cohorts.add_cohort",
    ),
    (
        "what which syncs runs failed last night errors for how long",
        "Runs that failed in the last day",
        "admin:syncs_run_changelist",
        "?fared=failed&began=24",
        "syncs.view_run",
    ),
)
NOT_IN_NAMES = {"the", "to", "for", "a", "this", "everything", "all", "until", "tomorrow", "syncs", "now"}
# Words of a user id, at most: more are a sentence.
LONGEST_NAME = 3
# What is done with a person, and what one types after the name: "take Ada out everywhere".
PEOPLE_VERBS = ("take", "suppress", "forget", "erase", "where")
PEOPLE_NOISE = re.compile(r"^is\s+|(\s+(out|off|everywhere))+$|\?$", re.IGNORECASE)
ID_LIKE = re.compile(r"[0-9@]")


@dataclass(frozen=True, slots=True)
class Found:
    title: str
    description: str
    link: str


def find(request: HttpRequest, typed: str) -> list[Found]:
    """Return what this person may see that has `typed` in its name; "run …" offers to run what is found."""
    words = typed.replace("\0", "").strip()
    if not words:
        return []
    return [
        found
        for look in (_runs, _actions, _to_do, _syncs, _cohorts, _destinations, _pages, _user, _help)
        for found in look(request, words)
    ]


def _runs(request: HttpRequest, words: str) -> Iterator[Found]:
    number = words.lower().removeprefix("run").strip()
    if request.user.has_perm("syncs.view_run") and number.isascii() and number.isdigit() and len(number) < 18:
        for run in Run.objects.filter(pk=number).select_related("sync__cohort", "sync__destination"):
            yield Found(f"Run {run.pk}", run.sync.heading, reverse("admin:syncs_run_change", args=[run.pk]))


def _actions(request: HttpRequest, words: str) -> Iterator[Found]:
    """ "pause everything to Braze until tomorrow": the destination first, which is one click for all."""
    verb, *rest = words.split()
    names = " ".join(word for word in rest if word.lower() not in NOT_IN_NAMES)
    if not names:
        return
    if request.user.has_perm("destinations.pause_destination"):
        for destination in _destinations_called(names) if verb.lower() in ON_DESTINATIONS else ():
            for name, label in ON_DESTINATIONS[verb.lower()]:
                url = reverse("admin:destinations_destination_do", args=[destination.pk, name])
                if destination.is_paused == (verb.lower() == "resume"):
                    yield Found(label, f"Destination {destination}", url)
    if verb.lower() in ACTIONS and request.user.has_perm("syncs.run_sync"):
        name, label = ACTIONS[verb.lower()]
        for sync in _matching(names):
            yield Found(label, sync.heading, reverse("admin:syncs_sync_do", args=[sync.pk, name]))


def _to_do(request: HttpRequest, words: str) -> Iterator[Found]:
    """What one may want to do: most of the words are those for it."""
    asked = _asked(words)
    for called, title, name, query, permission in TO_DO:
        known = asked & set(called.split())
        if asked and 2 * len(known) > len(asked) and request.user.has_perm(permission):
            yield Found(title, "", f"{reverse(name)}{query}")
    if request.user.has_perm("destinations.add_destination"):
        add = reverse("admin:destinations_destination_add")
        # A label begins with the partner's name.
        named = [pair for pair in preset_choices() if pair[1].lower().split()[0] in asked]
        for slug, label in named[:MOST]:
            yield Found(f"New destination: {label}", "", f"{add}?{urlencode({'preset': slug})}")


def _asked(words: str) -> set[str]:
    return {word.strip("?,.!").lower() for word in words.split()} - NOT_IN_NAMES


def _syncs(request: HttpRequest, words: str) -> Iterator[Found]:
    if request.user.has_perm("syncs.view_sync"):
        for sync in _matching(words):
            yield Found(sync.heading, "Sync", sync.get_absolute_url())


def _matching(words: str) -> list[Sync]:
    """Return live syncs: each word is in the name of the cohort or of the destination."""
    syncs = Sync.objects.filter(archived_at=None).select_related("cohort", "destination")
    for word in words.replace("→", " ").split():
        syncs = syncs.filter(
            Q(cohort__name__icontains=word)
            | Q(cohort__key__icontains=word)
            | Q(destination__name__icontains=word)
            | Q(destination__title__icontains=word)
        )
    return list(syncs.order_by("cohort__name", "pk")[:MOST])


def _cohorts(request: HttpRequest, words: str) -> Iterator[Found]:
    if request.user.has_perm("cohorts.view_cohort"):
        named = Q(name__icontains=words) | Q(key__icontains=words) | Q(description__icontains=words)
        named |= Q(owner__icontains=words) | Q(tags__icontains=words)
        for cohort in Cohort.objects.filter(named).order_by("name", "pk")[:MOST]:
            yield Found(cohort.name, f"Cohort, {cohort.size:,} users", cohort.get_absolute_url())


def _destinations(request: HttpRequest, words: str) -> Iterator[Found]:
    if request.user.has_perm("destinations.view_destination"):
        for one in _destinations_called(words):
            yield Found(str(one), "Destination", one.get_absolute_url())


def _destinations_called(words: str) -> list[Destination]:
    named = Q(name__icontains=words) | Q(title__icontains=words) | Q(base_url__icontains=words)
    return list(Destination.objects.filter(named).order_by("name")[:MOST])


def _pages(request: HttpRequest, words: str) -> Iterator[Found]:
    """By its title, or by words for what one does there: all of them, or of a sentence half."""
    asked, sentence = words.lower().split(), _asked(words)
    for group, pages in navigation.GROUPS:
        for title, _, name, permission in pages:
            called = f"{title} {navigation.ALSO.get(title, '')}".lower()
            known = sentence & set(called.split())
            fits = all(word in called for word in asked) or (
                len(known) > 1 and 2 * len(known) >= len(sentence)
            )
            if fits and (not permission or request.user.has_perm(permission)):
                yield Found(title, group or "Page", reverse(name))


def _user(request: HttpRequest, words: str) -> Iterator[Found]:
    """Users are not searched while one types: there may be a hundred million.

    What can be an id, by itself or within a question, is taken as one; so is what follows a verb.
    """
    named, meant = _named(words)
    if not meant and len(words.split()) > LONGEST_NAME:
        return
    if request.user.has_perm("cohorts.view_cohort"):
        where = f"{reverse('where')}?{urlencode({'user': named})}"
        yield Found(f"Where is “{named}”?", "User, by the exact id", where)
    if meant:
        urls = taking_out.offered(request, named)
        if urls["take_out_url"]:
            said = "Sent nowhere, and removed at every partner; asks first"
            yield Found(f"Take “{named}” out everywhere", said, urls["take_out_url"])
        if urls["forget_url"]:
            yield Found(f"Forget “{named}”", "Erased everywhere; asks first", urls["forget_url"])


def _named(words: str) -> tuple[str, bool]:
    """Return the user that is named, and whether a user was surely meant."""
    verb, _, rest = words.partition(" ")
    if verb.lower() in PEOPLE_VERBS and rest.strip():
        return PEOPLE_NOISE.sub("", rest.strip()), True
    # "in 7 days" names nobody.
    ids = [word for word in words.split() if ID_LIKE.search(word) and (len(word) > 2 or word == words)]
    if len(ids) == 1:
        return ids[0].strip("?,;:"), True
    return words, False


def _help(request: HttpRequest, words: str) -> Iterator[Found]:
    if count := len(matching(words)):
        said = f"{count} {'section' if count == 1 else 'sections'} of the documents"
        yield Found(f"Help on “{words}”", said, f"{reverse('help')}?{urlencode({'q': words})}")
