"""An EC2 that answers what a test tells it to, over real HTTP: pages, refusals, nonsense.

moto knows no pages and never fails; this one does nothing else.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from werkzeug.serving import WSGIRequestHandler, make_server

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class Request:
    action: str
    parameters: dict[str, str]
    access_key_id: str


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def answer(root: str, inner: str) -> Answer:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">\n'
        f"  <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>\n{inner}\n</{root}>"
    )
    return Answer(text.encode())


def refusal(code: str, status: int = 400, message: str = "EC2 says no.") -> Answer:
    return Answer(
        f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        "</Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>".encode(),
        status,
    )


def snapshot_item(
    id: str,
    volume_id: str = "vol-0bc0de60",
    start_time: str = "2011-07-28T21:54:19.000Z",
    status: str = "completed",
    description: str = "",
    name: str | None = None,
) -> str:
    tags = (
        f"<tagSet><item><key>Name</key><value>{escape(name)}</value></item></tagSet>"
        if name is not None
        else ""
    )
    return (
        f"<item><snapshotId>{id}</snapshotId><volumeId>{volume_id}</volumeId>"
        f"<status>{status}</status><startTime>{start_time}</startTime><progress>100%</progress>"
        f"<ownerId>123456789012</ownerId><volumeSize>8</volumeSize>"
        f"<description>{escape(description)}</description>{tags}</item>"
    )


def snapshots_page(items: str, next_token: str = "") -> Answer:
    token = f"<nextToken>{next_token}</nextToken>" if next_token else ""
    return answer("DescribeSnapshotsResponse", f"<snapshotSet>{items}</snapshotSet>{token}")


def created(item: str) -> Answer:
    return answer("CreateSnapshotResponse", item.removeprefix("<item>").removesuffix("</item>"))


def deleted() -> Answer:
    return answer("DeleteSnapshotResponse", "<return>true</return>")


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


class ProgrammedEC2:
    """``respond`` turns a request into an answer; ``requests`` are all that came."""

    def __init__(self, ssl_context: tuple[str, str] | None = None) -> None:
        self.reset()
        self._server = make_server(
            "127.0.0.1",
            0,
            self._application,
            threaded=True,
            request_handler=_QuietHandler,
            ssl_context=ssl_context,
        )
        scheme = "https" if ssl_context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.respond: Callable[[Request], Answer] = lambda request: snapshots_page("")
        self.requests: list[Request] = []

    def __enter__(self) -> "ProgrammedEC2":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _application(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        parameters = dict(parse_qsl(body, keep_blank_values=True))
        key = re.search(r"Credential=([^/]+)/", environ["HTTP_AUTHORIZATION"])[1]
        request = Request(parameters.pop("Action"), parameters, key)
        self.requests.append(request)
        reply = self.respond(request)
        length = (
            ()
            if dict(reply.headers).get("Content-Length")
            else (("Content-Length", str(len(reply.body))),)
        )
        start_response(f"{reply.status} .", [("Content-Type", "text/xml"), *reply.headers, *length])
        return [reply.body]
