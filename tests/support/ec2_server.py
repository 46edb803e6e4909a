"""A programmed EC2 over real HTTP: it answers what a test tells it to, and notes what came.

moto never splits a list into pages and never fails; this one does nothing else.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.ec2_requests import (
    UncheckedSignatureWarning,
    access_key_id,
    is_signed,
    parameter_problems,
)
from tests.support.ec2_responses import EC2Response, error_response, snapshots_page


@dataclass(frozen=True)
class EC2Request:
    action: str
    parameters: dict[str, str]
    access_key_id: str
    session_token: str = ""


class ProgrammedEC2:
    """``respond`` turns a request into a response; ``requests`` are all that came.

    ``check`` fails when one of them was none that EC2 accepts.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.respond: Callable[[EC2Request], EC2Response] = lambda request: snapshots_page("")
        self.requests: list[EC2Request] = []
        self.problems: list[str] = []
        self.unchecked: set[str] = set()

    def __call__(self, request: EC2Request) -> EC2Response:
        self.requests.append(request)
        return self.respond(request)

    def check(self) -> None:
        """Check the parameters and the signatures of all requests."""
        for id in sorted(self.unchecked):
            warnings.warn(f"the secret of {id} is unknown", UncheckedSignatureWarning, stacklevel=2)
        assert not self.problems, self.problems


class EC2Server:
    """An HTTP server that gives each request to the ``ProgrammedEC2`` of the running test."""

    def __init__(self, ssl_context: tuple[str, str] | None = None) -> None:
        self.ec2: ProgrammedEC2 | None = None
        self._server = make_server(
            "127.0.0.1",
            0,
            self._application,
            threaded=True,
            request_handler=QuietHandler,
            ssl_context=ssl_context,
        )
        scheme = "https" if ssl_context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def program(self) -> ProgrammedEC2:
        """Replace the programmed EC2 behind this address by a new one."""
        self.ec2 = ProgrammedEC2(self.url)
        return self.ec2

    def __enter__(self) -> "EC2Server":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _application(self, environ, start_response):
        response = self._respond(environ)
        headers = [("Content-Type", "text/xml"), *response.headers]
        if "Content-Length" not in dict(headers):
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} .", headers)
        return [response.body]

    def _respond(self, environ):
        if not self.ec2:
            return error_response("NoTestIsRunning", 503)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        key = access_key_id(environ["HTTP_AUTHORIZATION"])
        self.ec2.problems += parameter_problems(body.decode())
        signed = is_signed(environ, body)
        if signed is None:
            self.ec2.unchecked.add(key)
        elif not signed:
            self.ec2.problems.append(f"the signature of {key} is wrong")
        parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
        return self.ec2(EC2Request(parameters.pop("Action"), parameters, key, token))


@contextmanager
def programmed_ec2_server(ssl_context: tuple[str, str] | None = None) -> Iterator[ProgrammedEC2]:
    """Run a programmed EC2 at an address of its own."""
    with EC2Server(ssl_context) as server:
        ec2 = server.program()
        yield ec2
        ec2.check()


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_response(self, code: int, message: str | None = None) -> None:
        """Leave ``Date`` to the response: a second one would make both unreadable."""
        self.send_response_only(code, message)

    def log(self, *_: object) -> None:
        pass
