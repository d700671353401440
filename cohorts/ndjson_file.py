"""Reading user ids from NDJSON: on each line a JSON string or an integer."""

import json
from collections.abc import Iterator
from typing import IO

from cohorts.csv_file import InvalidFile
from events.user_ids import InvalidUserId, check_user_id

# An id of 1,024 bytes, each of them escaped, is well below it.
LONGEST_LINE = 16_384


def read_ids(file: IO[bytes]) -> Iterator[str]:
    """Yield the user ids of a file as they stand in it; blank lines are skipped. Raises InvalidFile."""
    number, found = 0, False
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise InvalidFile(f"Line {number:,} is longer than {LONGEST_LINE:,} bytes.")
        if line.isspace():
            continue
        try:
            yield check_user_id(json.loads(line.decode()))
        except InvalidUserId as error:
            raise InvalidFile(f"Line {number:,}: the user id {error}.") from None
        except RecursionError:
            raise InvalidFile(f"Line {number:,}: the JSON is nested too deep.") from None
        except ValueError as error:
            raise InvalidFile(f"Line {number:,} is not valid JSON: {error}.") from None
        found = True
    if not found:
        raise InvalidFile("The file holds no user ids.")
