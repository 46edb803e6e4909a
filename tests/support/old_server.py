"""The old Deltacloud server behind the filter: it echoes and delays, or sends raw bytes."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer


class OldServer(ThreadingHTTPServer):
    """Echoes what it is asked; ``/hold`` waits until it is released between two chunks."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.received = b""
        self.release = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _body(self):
        self.server.received = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.server.received += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left and (data := self.rfile.read1(left)):
                self.server.received += data
                left -= len(data)

    def _answer(self):
        self._body()
        self.server.requests.append(self)
        if self.path.startswith("/silent"):
            self.server.release.wait(10)
            return
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
            return
        if self.path.startswith("/hints"):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            self.server.release.wait(10)
        if self.path.startswith("/header"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: \x01b\r\nContent-Length: 0\r\n\r\n")
            return
        status = 302 if self.path.startswith("/redirect") else 299
        self.send_response(status, "Quite Fine")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Hop", "x")
        self.send_header("Connection", "X-Hop")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            self._chunk(b"first")
            if self.path.startswith("/hold"):
                self.server.release.wait(10)
            self._chunk(b"second")
            self._chunk(b"")

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


@contextmanager
def running_old_server() -> Iterator[OldServer]:
    server = OldServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class RawOldServer(ThreadingTCPServer):
    """Answers the head of each request with the bytes of ``response``, and closes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RawHandler)
        self.response = b""
        self.heads = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def target(self):
        """The target of the only request."""
        [head] = self.heads
        return head.split(b" ")[1].decode()


class RawHandler(StreamRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n") and (line := self.rfile.readline()):
            head += line
        self.server.heads.append(head)
        self.wfile.write(self.server.response)


@contextmanager
def running_raw_old_server(tls: ssl.SSLContext | None = None) -> Iterator[RawOldServer]:
    server = RawOldServer()
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
