"""The route table: which operation answers a method and a path."""

from typing import NamedTuple

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, MapAdapter, Rule

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.urls import ENTRY_POINT, split_matrix


class Route(NamedTuple):
    """A method and a path below ``/api``.

    ``handler`` is a module and a function of ``dcproxy.operations``. ``is_public``: it needs no
    credentials.
    """

    method: str
    path: str
    handler: str
    is_public: bool = False


# HTML forms cannot send DELETE: they send POST with _method=delete, for destroy_by_post.
ROUTES = (
    Route("GET", "", "entry_point.show", is_public=True),
    Route("GET", "/", "entry_point.show", is_public=True),
    Route("GET", "/docs", "docs.index", is_public=True),
    Route("GET", "/docs/<id:id>", "docs.show", is_public=True),
    Route("GET", "/drivers", "drivers.index", is_public=True),
    Route("GET", "/drivers/<id:id>", "drivers.show", is_public=True),
    Route("GET", "/realms", "realms.index"),
    # Private clouds may have zones whose name has a slash.
    Route("GET", "/realms/<path:id>", "realms.show"),
    Route("GET", "/storage_volumes", "storage_volumes.index"),
    Route("POST", "/storage_volumes", "storage_volumes.create"),
    Route("GET", "/storage_volumes/new", "storage_volumes.new", is_public=True),
    Route("GET", "/storage_volumes/<id:id>", "storage_volumes.show"),
    Route("DELETE", "/storage_volumes/<id:id>", "storage_volumes.destroy"),
    Route("POST", "/storage_volumes/<id:id>", "storage_volumes.destroy_by_post"),
    Route("POST", "/storage_volumes/<id:id>/attach", "storage_volumes.attach"),
    Route("POST", "/storage_volumes/<id:id>/detach", "storage_volumes.detach"),
    Route("GET", "/storage_snapshots", "storage_snapshots.index"),
    Route("POST", "/storage_snapshots", "storage_snapshots.create"),
    Route("GET", "/storage_snapshots/new", "storage_snapshots.new", is_public=True),
    Route("GET", "/storage_snapshots/<id:id>", "storage_snapshots.show"),
    Route("DELETE", "/storage_snapshots/<id:id>", "storage_snapshots.destroy"),
    Route("POST", "/storage_snapshots/<id:id>", "storage_snapshots.destroy_by_post"),
)

METHODS_HANDLER = "docs.methods"
"""The operation that answers OPTIONS."""


class RouteMatch(NamedTuple):
    """The operation that a request asks for, and of which member; ``id`` is empty without one."""

    handler: str
    is_public: bool
    id: str


class _IdConverter(BaseConverter):
    """One path segment; ``new`` is the path of a form."""

    regex = "(?!new$)[^/]+"


_MAP = Map(
    [
        Rule(f"{ENTRY_POINT}{route.path}", endpoint=route, methods=[route.method])
        for route in ROUTES
    ],
    converters={"id": _IdConverter},
    merge_slashes=False,
    redirect_defaults=False,
)


def match(method: str, path: str) -> RouteMatch:
    """Find the route of a request; ``path`` is decoded and may have matrix parameters.

    Each path has the method OPTIONS. Raises ``ApiError``: 404 for an unknown path, 405 with
    ``Allow`` for a method that the path does not have.
    """
    if method == "OPTIONS" and allowed_methods(path):
        return RouteMatch(METHODS_HANDLER, is_public=True, id="")
    try:
        route, values = _adapter(path).match(method=method)
    except MethodNotAllowed as error:
        allowed = ", ".join(allowed_methods(path))
        raise ApiError(
            405, f"{method} is not allowed here, only {allowed}.", headers={"Allow": allowed}
        ) from error
    except HTTPException as error:
        raise ApiError(404, f"There is nothing at {path!r}.") from error
    return RouteMatch(route.handler, route.is_public, values.get("id", ""))


def allowed_methods(path: str) -> list[str]:
    """List the methods of a path, with OPTIONS; an unknown path has none."""
    methods = set(_adapter(path).allowed_methods())
    return sorted({*methods, "OPTIONS"}) if methods else []


def _adapter(path: str) -> MapAdapter:
    # werkzeug takes several slashes at the start for one.
    path_info = "" if path.startswith("//") else split_matrix(path)[0]
    return _MAP.bind("", path_info=path_info)
