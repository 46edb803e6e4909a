"""What the operations share: the request they serve, how they ask EC2, and how they answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import chain
from typing import TypeVar

from webob import Request, Response

from dcproxy import credentials, errors, metrics, native
from dcproxy.answers import broken_off
from dcproxy.credentials import Credentials
from dcproxy.documents.choice import Format
from dcproxy.ec2 import EC2
from dcproxy.errors import DeltacloudError
from dcproxy.native import Page
from dcproxy.routes import Route, Urls
from dcproxy.settings import Settings
from dcproxy.trace import Trace

Answer = TypeVar("Answer")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Call:
    """One Deltacloud request, as its operation sees it.

    ``provider`` is the one that the request named; None where the settings decide. ``caller`` is
    None where the operation needs no credentials. ``pause`` waits for some seconds.
    """

    request: Request
    query: dict[str, str]
    route: Route
    urls: Urls
    format: Format
    provider: str | None
    caller: Credentials | None
    ec2: EC2
    settings: Settings
    trace: Trace
    pause: Callable[[float], None]

    @property
    def region(self) -> str:
        """The region of EC2 to ask."""
        return self.provider or self.settings.provider


def ask(call: Call, read: Callable[[bytes], Answer], action: str, **parameters: object) -> Answer:
    """Ask EC2 with the caller's own credentials and read its answer.

    ``action`` is boto3's name of it, with EC2's parameters. Raises ``DeltacloudError``.
    """
    answer = call.ec2.call(call.region, caller_of(call), call.trace, action, **parameters)
    try:
        return read(answer)
    except native.UnreadableError as error:
        raise DeltacloudError(
            502, f"EC2 in {call.region} gave an answer that cannot be read: {error}."
        ) from error


def caller_of(call: Call) -> Credentials:
    """Give the caller's credentials. Raises a 401 ``DeltacloudError`` when there are none."""
    return call.caller or credentials.from_request(call.request)


def pages(
    call: Call,
    read: Callable[[bytes], Page[Record]],
    action: str,
    **parameters: object,
) -> Iterator[Page[Record]]:
    """Ask EC2 for a list, page by page: the next one is asked for when the last one was taken."""
    tokens = {""}
    page = ask(call, read, action, **parameters)
    yield page
    while page.next_token:
        if page.next_token in tokens:
            raise DeltacloudError(502, f"EC2 in {call.region} repeats a page of the list.")
        tokens.add(page.next_token)
        page = ask(call, read, action, NextToken=page.next_token, **parameters)
        yield page


def one_or_none(find: Callable[[], Record]) -> Iterator[Page[Record]]:
    """Make a list of what ``find`` gives, empty when it raises a 404."""
    try:
        yield Page([find()], "")
    except DeltacloudError as error:
        if error.status != 404:
            raise
        yield Page([], "")


def document(call: Call, text: str, status: int = 200) -> Response:
    """Answer with a document that is complete."""
    body = text.encode()
    response = Response(
        body,
        status=status,
        headerlist=list(call.format.headers.items()),
        conditional_response=True,
    )
    response.etag = sha1(body, usedforsecurity=False).hexdigest()
    return response


def documents(
    call: Call,
    pages: Iterator[Page[Record]],
    write: Callable[[Iterator[Sequence[Record]], Urls], Iterator[str]],
) -> Response:
    """Answer with a list: whole when it fits one page, else page by page."""
    # The first page before the status line: an error then has its status.
    first = next(pages)
    texts = write(chain([first.records], (page.records for page in pages)), call.urls)
    if not first.next_token:
        return document(call, "".join(texts))
    return Response(app_iter=_stream(call, texts), headerlist=list(call.format.headers.items()))


def _stream(call: Call, texts: Iterator[str]) -> Iterator[bytes]:
    try:
        for text in texts:
            yield text.encode()
    except Exception as error:
        call.trace.error = errors.from_any(error)
        metrics.LISTS_BROKEN.inc()
        raise broken_off(call.request.environ) from error
