"""What a ``ProgrammedEC2`` may respond with: functions of a request."""

from collections.abc import Callable

from tests.support.ec2_responses import EC2Response, error_response, snapshot_item, snapshots_page
from tests.support.ec2_server import EC2Request

Responder = Callable[[EC2Request], EC2Response]


def always(response: EC2Response) -> Responder:
    """Respond to each request with the same."""
    return lambda request: response


def in_turn(*responses: EC2Response) -> Responder:
    """Respond with each of these once, in this order."""
    remaining = iter(responses)
    return lambda request: next(remaining)


def two_pages(first: EC2Response, second: EC2Response) -> Responder:
    """Respond with one page, and with another to a request that carries a NextToken."""
    return lambda request: second if "NextToken" in request.parameters else first


def second_page_fails(fault: EC2Response | None = None) -> Responder:
    """Respond with a page of ``snap-11111111`` that names a next one, which is a fault."""
    first = snapshots_page(snapshot_item("snap-11111111"), "more")
    return two_pages(first, fault or error_response("AuthFailure", 401))


def endless_pages(request: EC2Request) -> EC2Response:
    """Respond with a page of 1,000 snapshots, each of which names a next one."""
    items = "".join(snapshot_item(f"snap-{number:08x}") for number in range(1000))
    return snapshots_page(items, str(int(request.parameters.get("NextToken", "0")) + 1))
