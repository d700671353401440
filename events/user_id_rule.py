"""The rule for user ids, without Django: the process that calculates knows it, too.

A user id is a string of 1 to 1,024 UTF-8 bytes, compared byte for byte (docs/protocol.md). Python orders
strings by code point, which is the order of their UTF-8 bytes.
"""

MAX_BYTES = 1024


class InvalidUserId(ValueError):
    """The message says what is wrong, as a phrase that follows the place: "is blank"."""


def check_user_id(value: object) -> str:
    """Return the user id as a string, or raise InvalidUserId.

    An integer within 64 bits is taken as its digits; booleans, floats and null are refused.
    """
    if type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise InvalidUserId("is an integer beyond 64 bits")
        return str(value)
    if not isinstance(value, str):
        raise InvalidUserId("is neither a string nor an integer")
    if not value or value.isspace():
        raise InvalidUserId("is blank")
    if "\x00" in value:
        raise InvalidUserId("contains a NUL character")
    # A string of n characters has at least n bytes, and at most 4 n: encode only when in doubt.
    if len(value) > MAX_BYTES:
        raise InvalidUserId(f"is longer than {MAX_BYTES:,} bytes")
    if not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidUserId("contains a lone surrogate") from None
        if size > MAX_BYTES:
            raise InvalidUserId(f"is longer than {MAX_BYTES:,} bytes")
    return value
