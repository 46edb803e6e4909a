"""Creates whose client has closed its connection before they are sent to EC2."""

import socket
import time
from contextlib import suppress

import pytest

from dcproxy.server.connection import Connection
from dcproxy.settings import Settings
from tests.support.creation import KEY


@pytest.fixture
def connection(scenario):
    """Give the client's end of the connection of a request."""
    ours, theirs = socket.socketpair()
    scenario.client.extra_environ["gunicorn.socket"] = Connection(theirs, 60, Settings())
    with ours, theirs:
        yield ours


def test_create_of_a_departed_client_is_not_sent(scenario, connection):
    ec2 = scenario.model()
    connection.close()
    scenario.create(status=400)
    assert ec2.actions == []


def test_create_with_a_key_of_a_departed_client_is_not_sent(scenario, connection):
    ec2 = scenario.model()
    connection.close()
    scenario.create(status=400, headers=KEY)
    assert "CreateSnapshot" not in ec2.actions


def test_client_may_leave_during_the_search_before_a_create(scenario, connection):
    ec2 = scenario.model()
    ec2.on_list = connection.close
    scenario.create(status=400, headers=KEY)
    assert ec2.actions == ["DescribeSnapshots"]


def test_create_of_a_departed_client_is_not_sent_where_create_tag_is_off(scenario, connection):
    ec2 = scenario.model()
    client = scenario.client_with(create_tag=False)
    client.extra_environ = scenario.client.extra_environ
    connection.close()
    scenario.create(status=400, client=client)
    assert ec2.actions == []


def test_create_of_a_waiting_client_is_sent(scenario, connection):
    ec2 = scenario.model()
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"]


def test_client_that_takes_nothing_is_not_waited_for(scenario):
    ec2 = scenario.model()
    ours, theirs = socket.socketpair()
    connection = Connection(theirs, 60, Settings())
    connection.begin_response((1, 1))
    scenario.client.extra_environ["gunicorn.socket"] = connection
    with ours, theirs:
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while theirs.send(b"x" * 10_000):
                pass
        theirs.settimeout(10)  # not set by gunicorn
        ours.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        scenario.create()
        assert time.monotonic() - started < 5
    assert ec2.actions == ["CreateSnapshot"]


def test_create_of_a_client_that_sends_its_next_request_is_sent(scenario, connection):
    ec2 = scenario.model()
    connection.sendall(b"GET /api HTTP/1.1\r\n\r\n")
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"]


def test_create_is_sent_where_the_server_hands_over_no_connection(scenario):
    ec2 = scenario.model()
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"]


def test_repeated_key_of_a_departed_client_is_still_answered(scenario, connection):
    """Nothing is made for it, so there is nothing to drop."""
    scenario.model()
    scenario.create(headers=KEY)
    connection.close()
    scenario.create(headers=KEY, status=201)
