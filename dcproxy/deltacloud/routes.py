"""The route table: which operation answers a method and a path."""

from typing import NamedTuple

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule

from dcproxy.deltacloud.errors import ApiError


class Route(NamedTuple):
    """A method and a path.

    ``handler`` is a module and a function of ``dcproxy.operations``. ``is_public``: it needs no
    credentials.
    """

    method: str
    path: str
    handler: str
    is_public: bool = False


# HTML forms cannot send DELETE: they send POST with _method=delete, for destroy_by_post.
ROUTES = (
    Route("GET", "/", "entry_point.redirect", is_public=True),
    Route("GET", "/api", "entry_point.show", is_public=True),
    Route("POST", "/api", "entry_point.select", is_public=True),
    Route("GET", "/api/", "entry_point.show", is_public=True),
    Route("GET", "/api/docs", "docs.index", is_public=True),
    Route("GET", "/api/docs/<id:id>", "docs.show", is_public=True),
    Route("GET", "/api/drivers", "drivers.index", is_public=True),
    Route("GET", "/api/drivers/<id:id>", "drivers.show", is_public=True),
    Route("GET", "/api/realms", "realms.index"),
    # Private clouds may have zones whose name has a slash.
    Route("GET", "/api/realms/<path:id>", "realms.show"),
    Route("GET", "/api/storage_volumes", "storage_volumes.index"),
    Route("POST", "/api/storage_volumes", "storage_volumes.create"),
    Route("GET", "/api/storage_volumes/new", "storage_volumes.new", is_public=True),
    Route("GET", "/api/storage_volumes/<id:id>", "storage_volumes.show"),
    Route("DELETE", "/api/storage_volumes/<id:id>", "storage_volumes.destroy"),
    Route("POST", "/api/storage_volumes/<id:id>", "storage_volumes.destroy_by_post"),
    Route("POST", "/api/storage_volumes/<id:id>/attach", "storage_volumes.attach"),
    Route("POST", "/api/storage_volumes/<id:id>/detach", "storage_volumes.detach"),
    Route("GET", "/api/storage_snapshots", "storage_snapshots.index"),
    Route("POST", "/api/storage_snapshots", "storage_snapshots.create"),
    Route("GET", "/api/storage_snapshots/new", "storage_snapshots.new", is_public=True),
    Route("GET", "/api/storage_snapshots/<id:id>", "storage_snapshots.show"),
    Route("DELETE", "/api/storage_snapshots/<id:id>", "storage_snapshots.destroy"),
    Route("POST", "/api/storage_snapshots/<id:id>", "storage_snapshots.destroy_by_post"),
)

METHODS_HANDLER = "docs.methods"
"""The operation that answers OPTIONS of any path."""


class _IdConverter(BaseConverter):
    """One path segment; ``new`` is the path of a form."""

    regex = "(?!new$)[^/]+"


_MAP = Map(
    [Rule(route.path, endpoint=route, methods=[route.method]) for route in ROUTES],
    converters={"id": _IdConverter},
    merge_slashes=False,
    redirect_defaults=False,
)


def match(method: str, path: str) -> tuple[Route, str]:
    """Return the route of a request, and the id in its canonical ``path``, else an empty text.

    Raises ``ApiError``: 404 for an unknown path, 405 with ``Allow`` for a method that the path does
    not have.
    """
    if method == "OPTIONS" and allowed_methods(path):
        return Route(method, path, METHODS_HANDLER, is_public=True), ""
    try:
        route, values = _MAP.bind("", path_info=path).match(method=method)
    except MethodNotAllowed as error:
        allowed = ", ".join(allowed_methods(path))
        raise ApiError(
            405, f"{method} is not allowed here, only {allowed}.", headers={"Allow": allowed}
        ) from error
    except HTTPException as error:
        raise ApiError(404, f"There is nothing at {path!r}.") from error
    return route, values.get("id", "")


def allowed_methods(path: str) -> list[str]:
    """List the methods of a path, with OPTIONS; an unknown path has none."""
    methods = _MAP.bind("", path_info=path).allowed_methods()
    return sorted({*methods, "OPTIONS"}) if methods else []
