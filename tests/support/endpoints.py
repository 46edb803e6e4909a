"""Addresses where no working EC2 answers, each with a fault of its own."""

import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

from tests.support.certificates import make_certificate
from tests.support.ec2_server import programmed_ec2_server


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def refusing_endpoint() -> Iterator[str]:
    """Reserve a port that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield _url(unused)


@contextmanager
def silent_endpoint() -> Iterator[str]:
    """Accept connections, and never respond."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield _url(listener)


@contextmanager
def full_endpoint() -> Iterator[str]:
    """Listen with a backlog that is full: no connection is accepted."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            yield _url(listener)


@contextmanager
def resetting_endpoint() -> Iterator[str]:
    """Reset each connection once the request was sent."""

    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with _serving(reset) as url:
        yield url


@contextmanager
def truncating_endpoint() -> Iterator[str]:
    """Respond with fewer bytes than the Content-Length says."""

    def truncate(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<a/>")

    with _serving(truncate) as url:
        yield url


@contextmanager
def unknown_endpoint() -> Iterator[str]:
    """Name a host that does not exist."""
    yield "http://no-such-host.invalid"


@contextmanager
def untrusted_endpoint() -> Iterator[str]:
    """Run a programmed EC2 whose TLS certificate no known authority has signed."""
    with tempfile.TemporaryDirectory() as folder:
        _, key, certificate = make_certificate(Path(folder))
        with programmed_ec2_server(ssl_context=(str(certificate), str(key))) as ec2:
            yield ec2.url


@contextmanager
def self_signed_endpoint() -> Iterator[str]:
    """Run a programmed EC2 whose TLS certificate is its own authority."""
    with tempfile.TemporaryDirectory() as folder:
        authority, *_ = make_certificate(Path(folder))
        with programmed_ec2_server(ssl_context=(str(authority), f"{authority}.key")) as ec2:
            yield ec2.url


@contextmanager
def dripping_head_endpoint() -> Iterator[str]:
    """Respond with headers that arrive byte by byte and never end."""
    with _serving(lambda connection: _drip(connection, b"HTTP/1.1 200 OK\r\nX-Padding: ")) as url:
        yield url


@contextmanager
def dripping_body_endpoint() -> Iterator[str]:
    """Respond with a body that arrives byte by byte and never ends."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        _drip(connection, b"<?xml version='1.0'?>")

    with _serving(drip) as url:
        yield url


@contextmanager
def dripping_handshake_endpoint() -> Iterator[str]:
    """Answer a TLS handshake with a record that arrives byte by byte."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        _drip(connection, b"\x16\x03\x03\x40\x00\x02")

    with _accepting(drip) as url:
        yield url.replace("http:", "https:")


@contextmanager
def dripping_proxy() -> Iterator[str]:
    """Answer CONNECT with a status line that arrives byte by byte."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        _drip(connection, b"HTTP/1.1 200 OK\r\nX-Padding: ")

    with _accepting(drip) as url:
        yield url


@contextmanager
def continuing_endpoint() -> Iterator[str]:
    """Send ``100 Continue`` without end, at full speed."""
    with _serving(lambda connection: _flood(connection, b"HTTP/1.1 100 Continue\r\n\r\n")) as url:
        yield url


@contextmanager
def tiny_chunks_endpoint() -> Iterator[str]:
    """Send a body in chunks of one byte without end, at full speed."""

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        _flood(connection, b"1\r\nx\r\n")

    with _serving(flood) as url:
        yield url


def _flood(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data * 1000)


def _drip(connection: socket.socket, begin: bytes) -> None:
    for byte in chain(begin, repeat(ord("x"))):
        connection.sendall(bytes([byte]))
        # The client closes its end at last: then there is something to read.
        if select.select([connection], [], [], 0.1)[0]:
            return


@contextmanager
def _serving(respond: Callable[[socket.socket], None]) -> Iterator[str]:
    with _accepting(lambda connection: _respond(connection, respond)) as url:
        yield url


@contextmanager
def _accepting(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, serve), daemon=True).start()
        yield _url(listener)


def _serve(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_closing, args=(connection, serve), daemon=True).start()


def _closing(connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    with connection, suppress(OSError):
        serve(connection)


def _respond(connection: socket.socket, respond: Callable[[socket.socket], None]) -> None:
    request = b""
    while b"\r\n\r\nAction=" not in request:
        request += connection.recv(65536)
    respond(connection)
