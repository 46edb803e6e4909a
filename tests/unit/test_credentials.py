"""The credentials of a caller."""

from dcproxy.deltacloud.credentials import Credentials


def test_secret_is_not_in_a_repr():
    assert "hidden" not in repr(Credentials("AKID", "hidden"))
