"""E-mail addresses and telephone numbers in one form each, for all who keep, compare, hash or send them.

An address is trimmed, in small letters and in Unicode's NFC, since that is what partners hash; a number is in
E.164 (https://www.itu.int/rec/T-REC-E.164). Neither has marks that nobody sees: see `without_marks`. A domain
stays as it is written, in letters or as xn--: partners say nothing of it.
"""

import re
import unicodedata

# RFC 5321, 4.5.3.1: a path has 256 octets with its brackets.
MAX_EMAIL = 254
_HASH = re.compile(r"[0-9A-Fa-f]{64}")
# Of RFC 5321 without quotes: what remains of "mailto:" or "Ada<…>" is no address, and its hash nobody's.
_PART = r"[^@\s.()<>\[\]:;,\\\"]+"
_EMAIL = re.compile(rf"[^@\s()<>\[\]:;,\\\"]+@{_PART}(\.{_PART})*")
_CONTROL = re.compile("[\x01-\x1f\x7f-\x9f]")
# Marks of direction, spaces of no width, byte-order marks: what is copied from chats and tables has them.
_MARKS = dict.fromkeys(
    [0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
)


class InvalidIdentifier(ValueError):
    """The message says what is wrong, as a phrase that follows what it is about: "has no @"."""


def is_hash(text: str) -> bool:
    """Say whether a text is a SHA-256 in hexadecimal digits, not an identifier in clear."""
    return _HASH.fullmatch(text) is not None


def without_marks(text: str) -> str:
    """Return a text without what nobody sees nor means in an identifier, and trimmed."""
    return (text if text.isascii() else text.translate(_MARKS)).strip()


def clean_email(text: str) -> str:
    """Return an address in its one form. Raises InvalidIdentifier."""
    address = unicodedata.normalize("NFC", without_marks(text)).lower()
    if "\0" in address:
        raise InvalidIdentifier("contains a NUL character")
    if _CONTROL.search(address):
        raise InvalidIdentifier("contains a control character")
    if not address.isascii() and any("\ud800" <= char <= "\udfff" for char in address):
        raise InvalidIdentifier("contains a lone surrogate")
    if len(address) > MAX_EMAIL:
        raise InvalidIdentifier(f"is longer than {MAX_EMAIL} characters")
    if "@" not in address:
        raise InvalidIdentifier("has no @")
    if not _EMAIL.fullmatch(address):
        raise InvalidIdentifier("is not an e-mail address")
    return address


def clean_phone(text: str, region: str = "") -> str:
    """Return a number in E.164, as +4930901820. Raises InvalidIdentifier.

    It must say its country, unless `region` does: DE.
    """
    import phonenumbers  # here: a process that meets no number does not load the plans of all countries

    number = without_marks(text).replace("\uff0b", "+")  # of an Asian keyboard, like its digits
    if number.startswith("00"):
        number = f"+{number[2:]}"
    if not number.startswith("+") and not region:
        raise InvalidIdentifier("does not begin with + and the number of its country")
    try:
        parsed = phonenumbers.parse(number[:100], region or None)
    except phonenumbers.NumberParseException:
        raise InvalidIdentifier("is not a telephone number") from None
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidIdentifier("has too many or too few digits for its country")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
