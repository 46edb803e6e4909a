"""Lists of collections: paged by EC2, and streamed."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import Model
from dcproxy.deltacloud.responses import abort_response, document_response
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Page
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error, is_not_found

Record = TypeVar("Record")

_PIECE_BYTES = 1 << 16


def paginate(
    call: ApiCall,
    parse: Callable[[bytes], Page[Record]],
    action: str,
    *,
    is_streamed: bool = True,
    **params: Any,
) -> Iterator[Page[Record]]:
    """Call EC2 page by page; the next page is requested once the previous one was consumed.

    Each further page of a streamed list has the time limit of a request. Raises ``EC2Error``.
    """
    tokens = {""}
    page = call.ec2(parse, action, **params)
    while token := page.next_token:
        yield page
        del page  # its client may read slowly
        if token in tokens:
            raise EC2Error(f"EC2 in {call.region} repeats a page of the list.", Outcome.UNKNOWN)
        tokens.add(token)
        if is_streamed:
            call = call.with_new_deadline()
        page = call.ec2(parse, action, NextToken=token, **params)
    yield page


def one_or_none(find: Callable[[], Record]) -> Iterator[Page[Record]]:
    """Make a list of what ``find`` returns, empty when it raises that there is nothing."""
    try:
        yield Page([find()], "")
    except (ApiError, EC2Error) as error:
        if not is_not_found(error):
            raise
        yield Page([], "")


def list_response(
    call: ApiCall,
    collection: str,
    pages: Iterator[Page[Record]],
    translate: Callable[[Sequence[Record]], Sequence[Model]],
    render: Callable[..., Iterator[str]] | None = None,
) -> Response:
    """Send the list of a collection: as one document when it has one page, else page by page.

    ``render`` writes the list in place of the renderer of the format.
    """
    # The first page comes before the status line, so that its error still has a status.
    first = next(pages)
    records = chain([first.records], map(attrgetter("records"), pages))
    format = call.request.format
    texts = (render or format.renderer.collection)(collection, map(translate, records), call.urls)
    if not first.next_token:
        return document_response(format, "".join(texts))
    headers = list(format.renderer.HEADERS.items())
    return Response(app_iter=_stream(call, texts), headerlist=headers)


def _stream(call: ApiCall, texts: Iterator[str]) -> Iterator[bytes]:
    try:
        # A client may read slowly: meanwhile this holds the page once, and its pieces.
        for page in map(str.encode, texts):
            for start in range(0, len(page), _PIECE_BYTES):
                yield page[start : start + _PIECE_BYTES]
    except Exception as error:
        # The client must not take the list for complete.
        failure = api_error(error)
        # A list that was cut has failed, whatever the status of its error would be.
        status = failure.status if failure.status >= 500 else 502
        call.log.list_is_broken = True
        call.log.record_error(failure.message, failure.code, status, failure.__cause__)
        raise abort_response(call.log.connection, call.request.http_version) from error
