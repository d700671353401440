"""Made-up people of the demo: a partner that knows people by hashed addresses and numbers, and an erasure.

Their addresses are of a domain that is kept for examples (RFC 2606), their numbers of a range for drama
(Ofcom).
"""

import hashlib
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from cohorts import importing
from cohorts.choices import UploadMode
from cohorts.models import Cohort, Member
from cohortsite import forgetting
from people import profiles
from people.erasing import ask, certificate_of
from people.models import Erasure, ErasureState
from people.profile_files import Fields, mapped_of

COHORT, WORKSPACE, REFERENCE = "subscribers", "demo", "demo"
PEOPLE = 400
# One in so many has no address and is known by their number; the last person has neither.
NO_ADDRESS = 10
FORGOTTEN = "person-007"


def made_up() -> Iterator[tuple[str, str, str]]:
    """Yield user ids, addresses and numbers."""
    for number in range(1, PEOPLE + 1):
        user = f"person-{number:03}"
        address = "" if number % NO_ADDRESS == 0 else f"{user}@example.com"
        phone = "" if number == PEOPLE else f"+44 7700 900{number:03}"
        yield user, address, phone


def hashes_of(people: Iterator[tuple[str, str, str]]) -> set[str]:
    """Return by what a partner that wants SHA-256 knows them: the address, else the number in E.164."""
    known = (address or phone.replace(" ", "") for _, address, phone in people)
    return {hashlib.sha256(text.encode()).hexdigest() for text in known if text}


def left() -> Iterator[tuple[str, str, str]]:
    """Yield those of them who were not forgotten."""
    gone = erased()
    yield from (person for person in made_up() if gone is None or person[0] != FORGOTTEN)


def erased() -> Erasure | None:
    return Erasure.objects.filter(reference=REFERENCE).first()


def bring(cohort: Cohort) -> importing.Imported:
    """Import them as a file of members, of which two columns become fields of their profiles."""
    lines = ["user_id,E-Mail,Mobile", *(",".join(person) for person in made_up())]
    fields = Fields(WORKSPACE, [mapped_of("email=E-Mail"), mapped_of("phone=Mobile")])
    name = "made-up-people.csv"
    return importing.import_file(
        cohort,
        BytesIO("\n".join(lines).encode()),
        mode=UploadMode.REPLACE,
        source=f"replace: {name}",
        name=name,
        fields=fields,
        by="demo",
        replace_held=True,
    )


def forget(stop: threading.Event) -> dict[str, Any]:
    """Forget one of them, or go on with it; return the certificate."""
    erasure = erased() or ask(FORGOTTEN, by="demo", reference=REFERENCE)
    if erasure.state == ErasureState.WAITING:
        # Not by the command: that one would take Ctrl-C for itself.
        forgetting.drive_partners(stop)
        erasure.refresh_from_db()
        forgetting.forget(erasure)
    return certificate_of(erasure)


def is_gone_here(cohort: Cohort) -> bool:
    """Say whether nothing is known of who was forgotten, by us and in the cohort's versions."""
    known = profiles.store().of(WORKSPACE, FORGOTTEN)
    return not known and not Member.objects.filter(cohort=cohort, user_id=FORGOTTEN).exists()
