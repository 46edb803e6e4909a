"""Which headers about the way of a request are trusted, and what its connection tells.

gunicorn believes headers of its peer about scheme and prefix: from loopback, and always over a Unix
socket (its settings ``secure_scheme_headers`` and ``forwarder_headers``).
"""

import logging
import re
from functools import cache
from wsgiref.types import WSGIEnvironment

log = logging.getLogger(__name__)

_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
"""The host in a target such as ``http://cloud.example.org/api``."""


def arrived_at(environ: WSGIEnvironment, address: str | None) -> bool:
    """Tell whether a request came in at ``address``, such as ``127.0.0.1:9001`` or ``unix:/path``.

    Only its port or path counts. Under a server that does not hand over the connection: no.
    """
    connection = environ.get("gunicorn.socket")
    if connection is None or address is None:
        return False
    local = connection.getsockname()
    return port_or_path(address) == (local if isinstance(local, str) else str(local[1]))


def port_or_path(address: str) -> str:
    """Return the port of a TCP address, or the path of a Unix socket."""
    return address.rpartition(":")[2]


def ignore_forwarding(environ: WSGIEnvironment) -> None:
    """Undo what headers of the client did to the scheme and the prefix of a request.

    A prefix from elsewhere, such as the mount of a Paste composite, stays. The host is that of an
    absolute target, where there is one (RFC 9112, 3.2.2).
    """
    if "gunicorn.socket" in environ:
        # Only TLS sockets know a cipher, those of gevent too.
        is_tls = hasattr(environ["gunicorn.socket"], "cipher")
        environ["wsgi.url_scheme"] = "https" if is_tls else "http"
    # gunicorn passes the header on as well.
    if environ.get("HTTP_SCRIPT_NAME"):
        environ["PATH_INFO"] = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        environ["SCRIPT_NAME"] = ""
    if environ["REQUEST_METHOD"] == "CONNECT":
        environ["PATH_INFO"] = ""  # its target is no path, and may hold a password
    target = _ABSOLUTE.match(environ.get("RAW_URI", ""))
    if target and "HTTP_HOST" in environ:
        environ["HTTP_HOST"] = target[1]
    if environ.get("SERVER_NAME", "").startswith("/"):
        # gunicorn's name of a Unix socket.
        port = "443" if environ["wsgi.url_scheme"] == "https" else "80"
        environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": port}


@cache
def warn_of_worker_class() -> None:
    """Log once that the connections of this worker class cannot keep the time limits."""
    log.warning(
        "the worker class of gunicorn cannot keep the time limits of clients and of EC2: use "
        "--worker-class dcproxy.server.worker.Worker"
    )
