"""Connections of clients, without a server."""

import gevent
import gevent.socket
import pytest

from dcproxy.server.connection import Connection
from dcproxy.settings import Settings


@pytest.fixture
def pair():
    """Give the sockets of a server and of its client."""
    server, client = gevent.socket.socketpair()
    with server, client:
        yield server, client


@pytest.mark.parametrize(("seconds", "is_served"), [(60.0, True), (-1.0, False)])
def test_stop_closes_no_connection_whose_first_request_is_on_its_way(
    pair, monkeypatch, seconds, is_served
):
    monkeypatch.setattr("dcproxy.server.connection._NEW_SECONDS", seconds)
    server, client = pair
    connection = Connection(server, 2.0, Settings())
    receiving = gevent.spawn(connection.recv, 100)
    gevent.idle()  # until it waits
    connection.close_if_idle()
    gevent.idle()
    client.sendall(b"GET /api")
    if is_served:
        assert receiving.get(timeout=10) == b"GET /api"
    else:
        with pytest.raises(TimeoutError, match="the server stops"):
            receiving.get(timeout=10)
