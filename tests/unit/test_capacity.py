"""The places of requests: what remains of them."""

import pytest

from dcproxy.deltacloud.credentials import Credentials
from dcproxy.deltacloud.errors import ApiError
from dcproxy.operations.capacity import Capacity


def test_callers_without_requests_are_forgotten():
    capacity = Capacity(2, 1, lambda limit: None)
    for number in range(100):
        credentials = Credentials(f"key-{number}", "secret")
        occupied = capacity.occupied(credentials, 0)
        with occupied, pytest.raises(ApiError), capacity.occupied(credentials, 0):
            pass
    assert capacity._keys == {}
    assert capacity.has_free_place()


def test_failed_request_frees_its_place():
    capacity = Capacity(1, 1, lambda limit: None)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), capacity.occupied(Credentials("key", "secret"), 0):
            raise KeyboardInterrupt
    assert capacity.has_free_place()
