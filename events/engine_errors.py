"""Why a calculation ended. Apart from the engine, which takes a fifth of a second and 30 MB to import."""


class EngineError(Exception):
    """Why a piece of work ended: `code` for programs, the message for people."""

    code = "failed"


class TooLarge(EngineError):
    code = "too_large"


class TimedOut(EngineError):
    code = "timed_out"


class MissingTable(EngineError):
    """The work needs data that is not there. The message says which, and what to do."""

    code = "missing_table"


class Unreadable(EngineError):
    """A file could not be read though the disk is well: it may be damaged."""

    code = "unreadable"
