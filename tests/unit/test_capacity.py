"""The places of requests: what remains of them."""

import pytest

from dcproxy.auth.keys import Credentials
from dcproxy.deltacloud.errors import ApiError
from dcproxy.operations.capacity import Capacity

CALLER = Credentials("key", "secret")


def test_callers_without_requests_are_forgotten():
    places = Capacity(2, 1, lambda limit: None)
    for number in range(100):
        credentials = Credentials(f"key-{number}", "secret")
        place = places.occupy(credentials, 0)
        with pytest.raises(ApiError):
            places.occupy(credentials, 0)
        place.close()
    assert places._keys == {}
    assert places.has_free_place()


def test_request_that_is_interrupted_while_it_waits_is_forgotten(monkeypatch):
    places = Capacity(1, 1, lambda limit: None)
    place = places.occupy(CALLER, 0)
    monkeypatch.setattr(places._keys[CALLER].places, "acquire", interrupt)
    with pytest.raises(KeyboardInterrupt):
        places.occupy(CALLER, 1)
    place.close()
    assert places._keys == {}


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_request_that_is_left_behind_does_not_block_others():
    """The garbage collector must not free it: it may run while a lock is held."""
    places = Capacity(2, 1, lambda limit: None)
    places.occupy(CALLER, 0)
    assert places._keys[CALLER].requests == 1
