"""What a reply says of each user that it names."""

import pytest

from destinations.reasons import said_of

pytestmark = pytest.mark.once
USERS = frozenset({"u1", "u2"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"errors": [{"userId": "u1", "message": "gone"}, {"userId": "u2"}]}, {"u1": "gone"}),
        ({"unprocessed": [{"record": {"identity": "u2"}, "error": "no such user"}]}, {"u2": "no such user"}),
        ({"failed": {"u1": "unsubscribed"}}, {"u1": "unsubscribed"}),
        ({"failed": {"u1": {"code": "E7", "reason": "blocked"}}}, {"u1": "blocked"}),
        ([{"id": "u1", "error": {"message": "too old"}}], {"u1": "too old"}),
        ({"message": "2 are unknown", "invalidUserIds": ["u1", "u2"]}, {}),
        ({"errors": [{"userId": "u9", "message": "somebody else"}]}, {}),
        ({"errors": [{"userId": "u1", "message": ""}]}, {}),
        ("u1", {}),
        (None, {}),
    ],
)
def test_words_belong_to_the_user_whose_row_they_stand_in(data, said):
    assert said_of(USERS, data) == said
