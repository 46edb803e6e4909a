"""The old Deltacloud server behind the filter or a balancer: it says what it received."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from werkzeug.datastructures import EnvironHeaders
from werkzeug.wsgi import get_input_stream

STATUS = 299
REASON = "Quite Fine"


def _document(method, target, headers, body):
    received = {
        "method": method,
        "target": target,
        "headers": [[name.lower(), value] for name, value in headers],
        "body": body.decode("latin-1"),
    }
    return json.dumps(received).encode()


def app_factory(global_conf):
    """Create the old server as a WSGI application, for a Paste section."""

    def app(environ, start_response):
        body = get_input_stream(environ).read()
        headers = list(EnvironHeaders(environ))
        start_response(f"{STATUS} {REASON}", [("Content-Type", "application/json")])
        return [_document(environ["REQUEST_METHOD"], environ["RAW_URI"], headers, body)]

    return app


class OldServer(ThreadingHTTPServer):
    """The old server as a server of its own; it keeps the requests that it received."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(self)
        document = _document(self.command, self.path, self.headers.items(), body)
        self.send_response(STATUS, REASON)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(document)

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
