"""The time limit for a whole EC2 request, with real connections."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3 import Timeout

from dcproxy.ec2 import time_limit as module
from dcproxy.ec2.time_limit import limit_client, time_limit
from tests.support.certificates import make_certificate
from tests.support.ec2_responses import snapshots_page
from tests.support.servers import wait_until

BODY = snapshots_page("").body
LONG, LIMIT = 30, 0.3


class ScriptedEC2:
    """Serves one connection after the other, and each request by the next of ``responders``.

    A responder takes the connection and an event that is set at the end of the test.
    ``connections`` counts the accepted ones.
    """

    def __init__(self, responders, tls=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.responders = iter(responders)
        self.tls = tls
        self.connections = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        with suppress(OSError):
            while not self.ended.is_set():
                self.accepted, _ = self.listener.accept()
                self.connections += 1
                with suppress(OSError):
                    self._serve_connection(self.accepted)

    def _serve_connection(self, connection):
        if self.tls:
            connection = self.accepted = self.tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as requests:
            while read_request(requests):
                next(self.responders)(connection, self.ended)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for open_socket in (self.listener, self.accepted):
            with suppress(OSError):
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
        self.thread.join(LONG)
        self.listener.close()


def read_request(requests):
    """Read one request; tell whether there was one."""
    length = 0
    line = b""
    for line in iter(requests.readline, b""):
        if line == b"\r\n":
            requests.read(length)
            return True
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return False


def head(*headers):
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(BODY)}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def at_once(connection, ended):
    connection.sendall(head() + BODY)


def silent(connection, ended):
    ended.wait(LONG)


def drip(connection, ended, data):
    for byte in data:
        if ended.wait(0.02):
            return
        connection.sendall(bytes([byte]))


def dripping_head(connection, ended):
    drip(connection, ended, head("X-Padding: " + "x" * 10_000))


def dripping_body(connection, ended):
    connection.sendall(head())
    drip(connection, ended, BODY * 100)


def dripping_last_body(connection, ended):
    """Http.client gives up its socket when a response ends the connection."""
    connection.sendall(head("Connection: close"))
    drip(connection, ended, BODY * 100)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http", "https"])
def serve(request, certificate):
    """Run a scripted EC2, with and without TLS; give it and a limited client of it."""
    ca, key, signed = certificate
    tls = None
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(signed, key)

    @contextmanager
    def run(*responders):
        with ScriptedEC2(responders, tls) as ec2:
            yield ec2, limited_client(ec2.url, ca)

    return run


_session = boto3.Session(botocore_session=Session())


def limited_client(url, ca=None, read_timeout=LONG):
    config = Config(
        connect_timeout=LONG,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    client = _session.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=url,
        config=config,
        verify=str(ca) if ca else None,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )
    limit_client(client)
    return client


def ended_by_limit(client):
    """Call EC2 with a limit; tell whether the call failed before its time-outs, and the limit."""
    started = time.monotonic()
    with time_limit(LIMIT) as limit, pytest.raises((BotoCoreError, ResponseParserError)):
        client.describe_snapshots()
    return time.monotonic() - started < LONG / 3, limit


def test_request_within_its_limit_succeeds(serve):
    with serve(at_once) as (_, client), time_limit(LONG) as limit:
        assert client.describe_snapshots()["Snapshots"] == []
    assert not limit.has_expired


@pytest.mark.parametrize("respond", [silent, dripping_head, dripping_body])
def test_request_ends_with_its_limit(serve, respond):
    with serve(respond) as (_, client):
        has_ended, _ = ended_by_limit(client)
    assert has_ended


def test_request_whose_response_ends_the_connection_ends_with_its_limit(serve):
    with serve(dripping_last_body) as (ec2, client):
        # The call goes on until the server ends: here that is soon enough for a failure.
        threading.Timer(1.5, ec2.ended.set).start()
        _, limit = ended_by_limit(client)
    assert limit.has_expired


@pytest.mark.parametrize("respond", [dripping_head, dripping_body])
def test_limit_tells_that_it_has_ended_a_request(serve, respond):
    with serve(respond) as (_, client):
        _, limit = ended_by_limit(client)
    assert limit.has_expired


def test_client_works_again_after_an_ended_request(serve):
    with serve(dripping_body, at_once) as (_, client):
        ended_by_limit(client)
        with time_limit(LONG):
            assert client.describe_snapshots()["Snapshots"] == []


def test_connection_that_serves_another_request_by_now_is_left_alone(serve):
    expired_was_shut_down = threading.Event()

    def respond_late(connection, ended):
        expired_was_shut_down.wait(LONG)
        at_once(connection, ended)

    def request_again():
        with time_limit(LONG):
            results.append(client.describe_snapshots()["Snapshots"])

    results = []
    with serve(at_once, respond_late) as (ec2, client):
        other = threading.Thread(target=request_again)
        with time_limit(LONG) as expired:
            client.describe_snapshots()
            other.start()
            wait_until(lambda: expired.connection.limit not in {expired, None}, "the next request")
            module._shut_down(expired)
            expired_was_shut_down.set()
            other.join(LONG)
    assert results == [[]]
    assert ec2.connections == 1
    assert not expired.has_expired


def test_connection_that_serves_no_request_any_more_is_left_alone(serve):
    """Another request may be about to use it."""
    with serve(at_once, at_once) as (ec2, client), time_limit(LONG) as expired:
        client.describe_snapshots()
        module._shut_down(expired)
        client.describe_snapshots()
    assert not expired.has_expired
    assert ec2.connections == 1


def test_limit_without_a_connection_is_left_alone():
    with time_limit(LONG) as limit:
        module._shut_down(limit)
    assert not limit.has_expired


def test_limit_is_forgotten_after_its_request():
    with time_limit(LONG) as limit:
        assert limit in module._limits
    assert limit not in module._limits


def test_client_without_a_limit_keeps_its_own_timeouts():
    with ScriptedEC2([silent]) as ec2:
        client = limited_client(ec2.url, read_timeout=0.2)
        with pytest.raises(ReadTimeoutError):
            client.describe_snapshots()


TIMEOUT = module._LimitedTimeout(connect=5, read=20)


def times(timeout: Timeout):
    return timeout.connect_timeout, timeout.read_timeout


def test_timeouts_outside_a_limit_are_unchanged():
    assert times(TIMEOUT.clone()) == (5, 20)


def test_timeouts_shrink_to_what_is_left():
    with time_limit(3):
        connect, read = times(TIMEOUT.clone())
    assert connect == pytest.approx(3, abs=0.5)
    assert read == pytest.approx(3, abs=0.5)


def test_timeouts_that_are_shorter_than_what_is_left_are_unchanged():
    with time_limit(10):
        connect, read = times(TIMEOUT.clone())
    assert connect == 5
    assert read == pytest.approx(10, abs=0.5)


def test_timeouts_are_unchanged_again_after_a_limit():
    with time_limit(3):
        pass
    assert times(TIMEOUT.clone()) == (5, 20)


def test_timeouts_after_the_limit_are_above_zero():
    with time_limit(-1):
        assert all(seconds > 0 for seconds in times(TIMEOUT.clone()))


def test_inner_limit_takes_precedence_and_the_outer_one_returns():
    with time_limit(10):
        with time_limit(2):
            inner = TIMEOUT.clone().read_timeout
        outer = TIMEOUT.clone().read_timeout
    assert (inner, outer) == (pytest.approx(2, abs=0.5), pytest.approx(10, abs=0.5))


def test_limit_of_one_thread_does_not_apply_to_another():
    seen = []
    with time_limit(3):
        thread = threading.Thread(target=lambda: seen.append(times(TIMEOUT.clone())))
        thread.start()
        thread.join(LONG)
    assert seen == [(5, 20)]
