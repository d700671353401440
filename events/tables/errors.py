"""What is wrong with a file: a sentence for the person who brought it."""


class InvalidTable(ValueError):
    """The file cannot be taken: what is wrong, where, and what to do."""


class NoSuchColumn(InvalidTable):
    """The column that was named is not there once."""


class Unsure(InvalidTable):
    """The file can be understood in two ways. `asks` names the field of Hints that settles it."""

    def __init__(self, message: str, asks: str) -> None:
        super().__init__(message)
        self.asks = asks
