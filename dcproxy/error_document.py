"""The one place where an error becomes a document, in the format that the caller asked for."""

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from webob import Request, Response
from werkzeug.wsgi import get_host

from dcproxy import parameters
from dcproxy.documents import choice
from dcproxy.documents.report import ErrorReport
from dcproxy.errors import DeltacloudError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What is known of a request when it fails, in its environ.
NAMED_PROVIDER = "dcproxy.named_provider"
ID = "dcproxy.id"
URLS = "dcproxy.urls"


def error_document(request: Request, error: DeltacloudError) -> Response:
    """Write an error for the caller of a request; a 401 with the challenge."""
    try:
        query = parameters.query(request)
        format = choice.choose(query.get("format"), request.headers.get("Accept"))
    except DeltacloudError:
        query, format = {}, choice.DEFAULT
    id = request.environ.get(ID)
    report = ErrorReport(
        status=error.status,
        reason=HTTPStatus(error.status).phrase,
        message=error.message,
        ec2_code=error.ec2_code,
        url=address(request.environ),
        provider=request.environ.get(NAMED_PROVIDER, ""),
        parameters=query | {"id": id} if id else query,
        urls=request.environ.get(URLS),
        parameter=error.parameter,
        form=error.form,
    )
    response = Response(
        format.documents.error(report).encode(),
        status=error.status,
        headerlist=list(format.headers.items()),
    )
    response.headers.update(error.headers.items())
    if error.status == 401:
        response.www_authenticate = f'Basic realm="ec2-deltacloud@{get_host(request.environ)}"'
    return response


def address(environ: "WSGIEnvironment") -> str:
    """Write path and query as the client sent them, whatever bytes they are."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING")
    return quote(path, safe="/;=", encoding="latin-1") + (f"?{query}" if query else "")
