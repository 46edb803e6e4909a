"""Everything the simulation knows of dcproxy: how to make an application, call it and read it.

Only this module (and mutations.py, which breaks dcproxy on purpose) changes when dcproxy does.
Applications are used again in other worlds: dcproxy remembers nothing between requests.
"""

import base64
import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from io import BytesIO
from typing import Any, ClassVar, Protocol
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, urlencode

import botocore.useragent
import gevent
from botocore import exceptions
from botocore.awsrequest import AWSResponse
from botocore.client import ClientCreator
from botocore.httpsession import URLLib3Session
from botocore.loaders import JSONFileLoader

from dcproxy.app import application
from dcproxy.ec2.session import note_first_byte
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import Settings
from tests.simulation.ec2 import EPOCH, Request
from tests.simulation.network import NetworkError

REGIONS = ("us-east-1", "eu-west-1")
SETTINGS = (
    Settings(),
    Settings(connect_timeout=2, read_timeout=10, deadline=30),
    Settings(connect_timeout=1, read_timeout=5, deadline=15, retry_attempts=5),
)
"""Variants of the operator's settings: the defaults, shorter limits, the shortest deadline."""


class Surroundings(Protocol):
    """What dcproxy needs of the world that runs: time, random numbers, network, logging."""

    random: random.Random

    @property
    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def send(self, request: Request, connect_timeout: float, read_timeout: float) -> Any: ...
    def current_request(self) -> Any: ...


_current: Surroundings | None = None


def surroundings() -> Surroundings:
    if _current is None:
        raise RuntimeError("no world runs")
    return _current


# --- Making applications -----------------------------------------------------------------------


Application = Callable[..., Any]


class Applications:
    """Applications of one world: each process of a replica has its own, until the world ends.

    They go on in the next world then, since one costs 100 ms.
    """

    _idle: ClassVar[defaultdict[Settings, list[Application]]] = defaultdict(list)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._used: list[Application] = []

    def start(self) -> Application:
        """Give an application that no other process of this world has."""
        idle = self._idle[self._settings]
        self._used.append(idle.pop() if idle else _application(self._settings))
        return self._used[-1]

    def close(self) -> None:
        self._idle[self._settings] += self._used
        self._used = []


def _application(settings: Settings) -> Application:
    runtime = Runtime(
        sleep=_sleep,
        monotonic=_clock,
        unix_time=lambda: EPOCH.timestamp() + _clock(),
        random=RANDOM,
        time_limit=_Limit,
    )
    return application(settings, runtime)


def _clock() -> float:
    return surroundings().now


def _sleep(seconds: float) -> None:
    surroundings().sleep(seconds)


class _Random(random.Random):
    """Random numbers of the world that runs, for whatever dcproxy draws."""

    def random(self) -> float:
        return surroundings().random.random()

    def getrandbits(self, k: int) -> int:
        return surroundings().random.getrandbits(k)


RANDOM = _Random()


class _Limit(gevent.Timeout):
    """A time limit on the clock of the world, which shortens the time-outs of its requests."""

    def __init__(self, seconds: float) -> None:
        super().__init__(None)
        self.expires = _clock() + seconds

    def __enter__(self) -> "_Limit":
        self._token = _limit.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _limit.reset(self._token)


_limit: ContextVar[_Limit] = ContextVar("limit")


@contextmanager
def installed() -> Iterator[None]:
    """Replace what dcproxy and botocore have of the outside by the world that runs."""
    handler = _WarningHandler(logging.WARNING)
    logger = logging.getLogger("dcproxy")
    level, propagates = logger.level, logger.propagate
    with (
        patch.object(URLLib3Session, "send", _send),
        patch.object(RequestLog, "client_has_left", property(_client_has_left)),
        _cached_in_botocore(),
    ):
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagates
            logger.setLevel(level)


_load_file = cache(JSONFileLoader.load_file)
_user_agent = cache(botocore.useragent.UserAgentString.to_string)
_methods: dict[str, dict[str, Any]] = {}


def _create_methods(creator: Any, service_model: Any) -> dict[str, Any]:
    name = service_model.service_name
    if name not in _methods:
        _methods[name] = _botocore_create_methods(creator, service_model)
    return dict(_methods[name])


_botocore_create_methods = ClientCreator._create_methods
_loader = JSONFileLoader()


@contextmanager
def _cached_in_botocore() -> Iterator[None]:
    """Cache what botocore computes anew for each client and request, and what never differs."""
    with (
        patch.object(JSONFileLoader, "load_file", lambda self, path: _load_file(_loader, path)),
        patch.object(ClientCreator, "_create_methods", _create_methods),
        patch.object(botocore.useragent.UserAgentString, "to_string", _user_agent),
    ):
        yield


@contextmanager
def running(world: Surroundings) -> Iterator[None]:
    """Let dcproxy run in ``world``. Only within ``installed``."""
    global _current
    _current = world
    try:
        yield
    finally:
        _current = None


# --- Transport ---------------------------------------------------------------------------------

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[0-9]+/([^/]+)/")


def _send(session: URLLib3Session, request: Any) -> AWSResponse:
    """Take the place of ``URLLib3Session.send``: give the response or raise botocore's errors."""
    world = surroundings()
    header = request.headers["Authorization"]
    text = header.decode() if isinstance(header, bytes) else header
    match = _CREDENTIAL.search(text)
    if match is None:
        raise RuntimeError(f"a request that is not signed: {text}")
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    parameters = dict(parse_qsl(body, keep_blank_values=True))
    parameters.pop("Version", None)
    ours = Request(
        parameters.pop("Action"), parameters, match[1], match[2], world.current_request()
    )
    left = max(_limit.get().expires - _clock(), 0.001)
    timeout = session._timeout
    try:
        response = world.send(
            ours, min(timeout.connect_timeout, left), min(timeout.read_timeout, left)
        )
    except NetworkError as error:
        if error.kind not in {"refused", "connect_timeout"}:
            note_first_byte()
        raise _error(error, request.url) from None
    note_first_byte()
    answer = AWSResponse(request.url, response.status, {"Content-Type": "text/xml"}, None)
    answer._content = response.body
    return answer


def _error(error: NetworkError, url: str) -> Exception:
    kind = error.kind
    if error.is_proxied and kind in {"refused", "closed"}:
        # urllib3 takes whatever ends the connection to a proxy for a fault of the proxy.
        return exceptions.ProxyConnectionError(proxy_url=url, error=kind)
    if kind == "refused":
        return exceptions.EndpointConnectionError(endpoint_url=url, error=kind)
    if kind == "connect_timeout":
        return exceptions.ConnectTimeoutError(endpoint_url=url, error=kind)
    if kind == "read_timeout":
        return exceptions.ReadTimeoutError(endpoint_url=url, error=kind)
    return exceptions.ConnectionClosedError(endpoint_url=url, error=kind)


# --- Requests and answers ----------------------------------------------------------------------


class ClientSocket:
    """Stands for ``environ["gunicorn.socket"]``."""

    def __init__(self, request: Any) -> None:
        self.request = request


def _client_has_left(request_log: RequestLog) -> bool:
    connection: Any = request_log.connection
    return connection.request.left_at is not None


def environ_of(request: Any) -> dict[str, Any]:
    """Make the WSGI environ of a client's request."""
    form = {}
    path = "/api/storage_snapshots"
    if request.method == "POST":
        form = {"volume_id": request.volume_id}
        if request.snapshot_name:
            form["name"] = request.snapshot_name
        if request.description:
            form["description"] = request.description
    elif request.method == "DELETE":
        path = f"{path}/{quote(request.target_id)}"
    body = urlencode(form).encode()
    credentials = base64.b64encode(f"{request.account}:secret".encode()).decode()
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "3001",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost:3001",
        "HTTP_AUTHORIZATION": f"Basic {credentials}",
        "HTTP_X_REQUEST_ID": request.name,
        "HTTP_X_DELTACLOUD_PROVIDER": request.region,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": None,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "gunicorn.socket": ClientSocket(request),
    }
    if request.key is not None:
        environ["HTTP_IDEMPOTENCY_KEY"] = f'"{request.key}"'
    return environ


def call(app: Any, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Call the application; give status, headers and body."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [int(status[:3]), dict(headers)]
        return None

    iterable = app(environ, start_response)
    try:
        body = b"".join(iterable)
    finally:
        close = getattr(iterable, "close", None)
        if close:
            close()
    return started[0], started[1], body


_UNKNOWN_OUTCOME = b"not known whether"
_THROTTLING = ("RequestLimitExceeded", "SnapshotCreationPerVolumeRateExceeded")


def is_throttling(error_code: str) -> bool:
    """Tell whether EC2 has not carried out a request, and would do so later."""
    return error_code in _THROTTLING


def kind_of(status: int, body: bytes) -> str:
    """Classify an answer: the names are those that the campaign counts."""
    if status in (200, 201, 204):
        return "created" if status == 201 else "ok"
    if status == 500:
        return "internal_error"
    if status == 502:
        if _UNKNOWN_OUTCOME in body:
            return "unknown"
        is_throttled = any(code.encode() in body for code in _THROTTLING)
        return "throttled" if is_throttled else "unavailable"
    return "refused"


def snapshot_id_of(headers: dict[str, str]) -> str:
    """Give the id of the snapshot that a 201 names."""
    return headers["Location"].rpartition("/")[2]


_UNSETTLED = "a create is not settled"


class _WarningHandler(logging.Handler):
    """Marks the request that runs when dcproxy logs that there may be another snapshot."""

    def emit(self, record: logging.LogRecord) -> None:
        request = _current.current_request() if _current else None
        if request is not None and _UNSETTLED in record.getMessage():
            request.is_warned = True
