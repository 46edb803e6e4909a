"""STS, the metadata service of an instance and that of a container, on one loopback address.

It verifies signatures, and hands out keys whose signatures the programmed EC2 verifies.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from werkzeug.serving import make_server

from tests.support.callers import register_caller
from tests.support.ec2_requests import access_key_id, is_signed
from tests.support.ec2_server import QuietHandler

ROLE_OF_THE_INSTANCE = "instance-role"
CONTAINER_AUTHORIZATION = "token-of-the-container"
CONTAINER_PATH = "/container"
WEB_IDENTITY_TOKEN = "token.of.web-identity"

_METADATA = "/latest/meta-data/iam/security-credentials/"
_METADATA_TOKEN = "token-of-the-metadata-service"


@dataclass(frozen=True)
class STSRequest:
    action: str
    parameters: dict[str, str]
    access_key_id: str


@dataclass(frozen=True)
class HandedOut:
    """Temporary credentials; ``source`` is who asked for them."""

    id: str
    secret: str
    token: str
    source: str


class STS:
    """``requests`` are those of STS, ``problems`` what was wrong with them.

    ``refusal`` is a code and a message that STS responds with instead, ``delay`` is called before
    each response, which has ``headers`` besides, and ``send`` makes the pieces of its body.
    ``instance`` is what the metadata service hands out instead of new credentials. ``seconds`` is
    the time for which credentials are valid after ``now``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[STSRequest] = []
        self.problems: list[str] = []
        self.handed_out: list[HandedOut] = []
        self.refusal: tuple[str, str] | None = None
        self.delay: Callable[[], object] = lambda: None
        self.headers: list[tuple[str, str]] = []
        self.send: Callable[[bytes], Iterable[bytes]] = lambda body: [body]
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.seconds = 3600
        self.instance: HandedOut | None = None
        self._numbers = itertools.count()

    def new_credentials(self, source: str) -> HandedOut:
        number = next(self._numbers)
        id, secret = register_caller(f"ASIAHANDEDOUT{number:07}", f"secret{number}of/{source}")
        credentials = HandedOut(id, secret, f"token{number}of/{source}", source)
        self.handed_out.append(credentials)
        return credentials

    def expiration(self) -> str:
        return (self.now() + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def __call__(self, environ, start_response):
        self.delay()
        status, body = self._respond(environ)
        start_response(f"{status} .", [("Content-Length", str(len(body))), *self.headers])
        return self.send(body)

    def _respond(self, environ):
        path = environ["PATH_INFO"]
        if path == "/latest/api/token" and environ["REQUEST_METHOD"] == "PUT":
            return 200, _METADATA_TOKEN.encode()
        if path.startswith(_METADATA):
            if environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") != _METADATA_TOKEN:
                return 401, b"this is IMDSv2"
            if path == _METADATA:
                return 200, ROLE_OF_THE_INSTANCE.encode()
            return 200, self._json("instance")
        if path == CONTAINER_PATH:
            if environ.get("HTTP_AUTHORIZATION") != CONTAINER_AUTHORIZATION:
                return 403, b"no authorization"
            return 200, self._json("container")
        return self._sts(environ)

    def _json(self, source):
        given = self.instance if source == "instance" else None
        credentials = given or self.new_credentials(source)
        return json.dumps(
            {
                "Code": "Success",
                "AccessKeyId": credentials.id,
                "SecretAccessKey": credentials.secret,
                "Token": credentials.token,
                "Expiration": self.expiration(),
            }
        ).encode()

    def _sts(self, environ):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        parameters = dict(parse_qsl(body.decode()))
        action = parameters.pop("Action")
        key = ""
        if action == "AssumeRole":
            key = access_key_id(environ["HTTP_AUTHORIZATION"])
            if not is_signed(environ, body):
                self.problems.append(f"the signature of {key} is wrong")
        elif parameters.get("WebIdentityToken") != WEB_IDENTITY_TOKEN:
            self.problems.append(f"{action} has no token")
        self.requests.append(STSRequest(action, parameters, key))
        if self.refusal:
            code, message = self.refusal
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
            return 403, f"<ErrorResponse>{error}</Error></ErrorResponse>".encode()
        credentials = self.new_credentials(parameters["RoleArn"])
        return 200, (
            f"<{action}Response><{action}Result><Credentials>"
            f"<AccessKeyId>{credentials.id}</AccessKeyId>"
            f"<SecretAccessKey>{credentials.secret}</SecretAccessKey>"
            f"<SessionToken>{credentials.token}</SessionToken>"
            f"<Expiration>{self.expiration()}</Expiration>"
            f"</Credentials></{action}Result></{action}Response>"
        ).encode()


class STSServer:
    """An HTTP server that gives each request to the ``STS`` of the running test."""

    def __init__(self) -> None:
        self.sts: STS | None = None
        self._server = make_server(
            "127.0.0.1", 0, self._application, threaded=True, request_handler=QuietHandler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _application(self, environ, start_response):
        assert self.sts is not None
        return self.sts(environ, start_response)

    @contextmanager
    def running(self) -> Iterator["STSServer"]:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        yield self
        self._server.shutdown()
        self._server.server_close()
