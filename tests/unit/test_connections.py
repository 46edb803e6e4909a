"""Connections to EC2: what is sent, how much is read, and how long they are kept."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, HTTPClientError

from dcproxy.ec2 import connection as module
from dcproxy.ec2.connection import ResponseTooLongError, use_connections
from dcproxy.ec2.session import AccessKey, callers_session, sending
from tests.support.ec2_responses import snapshots_page
from tests.support.endpoints import (
    full_endpoint,
    refusing_endpoint,
    resetting_endpoint,
    silent_endpoint,
    truncating_endpoint,
    unknown_endpoint,
)

BODY = snapshots_page("").body
KEY = AccessKey("AKIDEXAMPLE", "secret")


def limited_client(url, **options):
    client = callers_session().client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(
            connect_timeout=0.3,
            read_timeout=0.3,
            retries={"mode": "standard", "total_max_attempts": 1},
            **options,
        ),
    )
    use_connections(client)
    return client


@contextmanager
def scripted(*responses):
    """Serve one connection after the other, and each request by the next of ``responses``."""
    remaining = iter(responses)
    connections = []

    def serve():
        with suppress(OSError, StopIteration):
            while True:
                accepted, _ = listener.accept()
                connections.append(accepted)
                request = b""
                while received := accepted.recv(65536):
                    request += received
                    if b"Action=" in request:
                        request = b""
                        with suppress(OSError):
                            accepted.sendall(next(remaining))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections


def ok(body=BODY):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("endpoint", "is_sent"),
    [
        (refusing_endpoint, False),
        (full_endpoint, False),
        (unknown_endpoint, False),
        (silent_endpoint, True),
        (resetting_endpoint, True),
        (truncating_endpoint, True),
    ],
)
@pytest.mark.parametrize("is_proxy", [False, True])
def test_only_a_request_whose_first_byte_may_have_left_counts_as_sent(endpoint, is_sent, is_proxy):
    with endpoint() as url, silent_endpoint() as behind:
        client = limited_client(behind, proxies={"http": url}) if is_proxy else limited_client(url)
        with sending(KEY) as sent, suppress(Exception):
            client.describe_snapshots()
    assert sent.has_begun == is_sent


def test_second_request_on_a_connection_counts_for_itself():
    with scripted(ok(), ok()) as (url, connections):
        client = limited_client(url)
        for _ in range(2):
            with sending(KEY) as sent:
                assert not sent.has_begun
                assert client.describe_snapshots()["Snapshots"] == []
            assert sent.has_begun
        assert len(connections) == 1


def test_connection_that_was_unused_for_too_long_is_dropped(monkeypatch):
    with scripted(ok(), ok()) as (url, connections):
        client = limited_client(url)
        client.describe_snapshots()
        monkeypatch.setattr(module, "_IDLE_SECONDS", -1.0)
        with suppress(BotoCoreError):
            # Whatever becomes of it: it is sent on another connection.
            client.describe_snapshots()
        connections[0].setblocking(False)
        assert connections[0].recv(1) == b""


@pytest.mark.parametrize(
    "response",
    [
        ok(b"<a>" + b" " * 2000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    ],
)
def test_response_that_is_too_long_ends_the_request(monkeypatch, response):
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 1000)
    with scripted(response) as (url, _), pytest.raises(HTTPClientError) as caught:
        limited_client(url).describe_snapshots()
    assert isinstance(caught.value.kwargs["error"], ResponseTooLongError)
