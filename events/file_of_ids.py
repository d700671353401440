"""Reading the user ids of a file that somebody brought: each is checked, and the odd ones are counted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from events.tables import Block, Hints, InvalidTable, Suspicions, Table, Understood, open_table
from events.user_ids import MAX_BYTES, InvalidUserId, check_user_id

NOBODY = "The file holds no user ids."


class IdsFile:
    """A file that was understood; its ids can be read once, in blocks."""

    def __init__(self, table: Table, suspicions: Suspicions) -> None:
        self.understood: Understood = table.understood
        self.column = table.column_of_ids()
        self.suspicions = suspicions
        self.table = table

    def blocks(
        self, *, refuse_suspicious: bool = False, step: Callable[[], None] = lambda: None
    ) -> Iterator[Sequence[str]]:
        """Yield the user ids as they stand in the file; `step` is called after each block.

        Raises InvalidTable, at the latest after the last block.
        """
        found = False
        for block in self.table.blocks(self.column):
            if not block.ids:
                continue
            found = True
            yield self._checked(block)
            step()
        if not found:
            raise InvalidTable(NOBODY)
        if refuse_suspicious and self.suspicions.counts:
            raise InvalidTable(f"The file holds suspicious ids: {self.suspicions.sentence()}.")

    def look(self) -> None:
        """Check the first block of the file alone. Raises InvalidTable."""
        blocks = self.table.blocks(self.column)
        first = next(blocks, None)
        if first and first.ids:
            self._checked(first)
        elif next(blocks, None) is None:
            raise InvalidTable(NOBODY)

    def _checked(self, block: Block) -> Sequence[str]:
        text = "\n".join(block.ids)
        check_block(block, text)
        self.suspicions.look(block.ids, text)
        return block.ids


@contextmanager
def opened(
    file: IO[bytes],
    *,
    name: str = "",
    hints: Hints | None = None,
    partial: bool = False,
    suspicions: Suspicions | None = None,
) -> Iterator[IdsFile]:
    """Understand a file of user ids; odd ones are counted into `suspicions`.

    Raises InvalidTable; among these NoSuchColumn and Unsure. Other arguments as for `open_table`.
    """
    with open_table(file, name=name, hints=hints, partial=partial) as table:
        if not table.understood.columns:
            raise InvalidTable(NOBODY)
        yield IdsFile(table, Suspicions() if suspicions is None else suspicions)


def check_block(block: Block, text: str) -> None:
    """Raise InvalidTable unless each id of a block is one; `text` is the block, one id a line."""
    if (
        not all(block.ids)
        or any(map(str.isspace, block.ids))
        or max(map(len, block.ids)) * (1 if text.isascii() else 4) > MAX_BYTES
        or "\x00" in text
        or not _is_encodable(text)
    ):
        for index, user_id in enumerate(block.ids):
            try:
                check_user_id(user_id)
            except InvalidUserId as error:
                raise InvalidTable(f"{block.position(index)}: the user id {error}.") from None


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
