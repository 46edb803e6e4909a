"""Members of collections: how they are found by their id, sent as a document, and deleted."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import StorageSnapshot, StorageVolume
from dcproxy.deltacloud.routes import allowed_methods
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Page
from dcproxy.operations import lists
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import is_not_found, storage_snapshots, storage_volumes

_RELOAD_SECONDS = 5


def id_pattern(prefix: str) -> re.Pattern[str]:
    """Build the pattern of ids of EC2: old ones of 8 hexadecimal digits, new ones of 17."""
    return re.compile(rf"{prefix}-[0-9A-Fa-f]{{8}}(?:[0-9A-Fa-f]{{9}})?")


class Kind(NamedTuple):
    """The members of a collection.

    ``noun`` is what actions and parameters of EC2 call them, ``parse`` reads a list of them.
    """

    collection: str
    noun: str
    id: re.Pattern[str]
    parse: Callable[[bytes], Page[Any]]
    translate: Callable[[Sequence[Any]], Sequence[StorageSnapshot | StorageVolume]]


VOLUMES = Kind("storage_volumes", "Volume", id_pattern("vol"), reader.volumes, storage_volumes)
SNAPSHOTS = Kind(
    "storage_snapshots", "Snapshot", id_pattern("snap"), reader.snapshots, storage_snapshots
)
DETAILED_SNAPSHOTS = SNAPSHOTS._replace(parse=reader.detailed_snapshots)


def id_parameter(call: ApiCall, name: str, pattern: re.Pattern[str], example: str) -> str:
    """Return a parameter that is an id, empty without one. Raises a 400 ``ApiError``."""
    id = call.request.parameters.get(name, "")
    if id and not pattern.fullmatch(id):
        message = f"{name} {id!r} is not an id of EC2, such as {example}."
        raise ApiError(400, message, parameter=name)
    return id


def find(call: ApiCall, kind: Kind, id: str, **params: Any) -> Any:
    """Return a record of EC2. Raises ``EC2Error``, and a 404 ``ApiError`` when there is none."""
    _check_id(kind, id)
    params[f"{kind.noun}Ids"] = [id]
    page = call.ec2(kind.parse, f"Describe{kind.noun}s", **params)
    if not page.records:
        raise ApiError(404, f"There is no {kind.collection[:-1].replace('_', ' ')} {id}.")
    return page.records[0]


def _check_id(kind: Kind, id: str) -> None:
    if not kind.id.fullmatch(id):  # EC2 need not be asked
        raise ApiError(404, f"There is no {id!r}: that is not an id of EC2.")


def find_all(call: ApiCall, kind: Kind, **params: Any) -> Iterator[Page[Any]]:
    """List the members page by page; ``?id=`` leaves that one. Raises ``EC2Error``."""
    id = call.request.query.get("id")
    if id is not None:
        # EC2 takes either ids or a page size.
        return lists.one_or_none(lambda: find(call, kind, id, **params))
    page_size = call.settings.page_size
    return lists.paginate(call, kind.parse, f"Describe{kind.noun}s", MaxResults=page_size, **params)


def member_response(call: ApiCall, kind: Kind, record: object, status: int = 200) -> Response:
    """Send the member that a record of EC2 describes.

    Browsers reload the page of one that EC2 is still making, unless ``?reload=off`` forbids it. The
    header does what ``<meta http-equiv="refresh">`` does.
    """
    [model] = kind.translate([record])
    response = call.respond(kind.collection.removesuffix("s"), model, status)
    href = call.urls.member(kind.collection, model.id)
    if status == 201:
        response.location = href
    is_page = call.request.format.is_page
    if model.is_pending and is_page and call.request.query.get("reload") != "off":
        response.headers["Refresh"] = f"{_RELOAD_SECONDS}; url={href}"
    return response


def delete(kind: Kind, call: ApiCall) -> Response:
    """Delete the member that the path names, and return 204.

    Raises ``EC2Error``, and a 404 ``ApiError`` for what cannot be an id.
    """
    action = f"Delete{kind.noun}"
    params: dict[str, Any] = {f"{kind.noun}Id": call.request.id}
    _check_id(kind, call.request.id)
    try:
        call.ec2(partial(reader.deleted, action=action), action, **params)
    except EC2Error as error:
        # An earlier attempt, whose response was lost, has deleted it.
        if not (error.earlier_response_lost and is_not_found(error)):
            raise
    return Response(status=204)


def delete_by_post(kind: Kind, call: ApiCall) -> Response:
    """Delete for a POST with ``_method=delete``, as HTML forms send it; then go to the collection.

    Raises as ``delete``, and a 405 ``ApiError`` for any other POST.
    """
    request = call.request
    if request.parameters.get("_method", "").lower() != "delete":
        message = "POST is allowed here only with the parameter _method=delete."
        raise ApiError(405, message, headers={"Allow": ", ".join(allowed_methods(request.path))})
    response = delete(kind, call)
    return see_other(call.urls.collection(kind.collection)) if request.format.is_page else response


def see_other(href: str) -> Response:
    """Send a browser that has sent a form to another page."""
    return Response(status=303, headerlist=[("Location", href)])
