"""The URL map, read in both directions: which operation an address asks for, and every href.

Deltacloud puts the driver and the provider (the EC2 region) into matrix parameters of the first
segment: ``/api;driver=ec2;provider=eu-west-1/storage_snapshots/snap-1``.
"""

from typing import NamedTuple
from urllib.parse import quote

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, MapAdapter, Rule

from dcproxy.deltacloud import DRIVER
from dcproxy.errors import DeltacloudError

Matrix = tuple[tuple[str, str], ...]


class _MatrixConverter(BaseConverter):
    """``;name=value;name=value`` as pairs of names and values, in their order."""

    regex = r"(?:;[^/]*)?"

    def to_python(self, value: str) -> Matrix:
        return _pairs(value)

    def to_url(self, value: Matrix) -> str:
        return "".join(f";{name}={quote(text, safe='')}" for name, text in value)


def _pairs(text: str) -> Matrix:
    pairs = (part.partition("=") for part in text.split(";") if part)
    return tuple((name, value) for name, _, value in pairs)


class _IdConverter(BaseConverter):
    """An id, or whatever a client takes for one; ``new`` is the address of the form."""

    regex = r"(?!new$)[^/]+"


def _rule(path: str, endpoint: str, *methods: str) -> Rule:
    return Rule(f"/api<matrix:matrix>{path}", endpoint=endpoint, methods=methods)


_MAP = Map(
    [
        _rule("", "entry_point.show", "GET"),
        _rule("/", "entry_point.show", "GET"),
        _rule("/drivers", "drivers.index", "GET"),
        _rule("/drivers/<id:id>", "drivers.show", "GET"),
        _rule("/realms", "realms.index", "GET"),
        _rule("/realms/<id:id>", "realms.show", "GET"),
        _rule("/storage_volumes", "storage_volumes.index", "GET"),
        _rule("/storage_volumes/<id:id>", "storage_volumes.show", "GET"),
        _rule("/storage_snapshots", "storage_snapshots.index", "GET"),
        _rule("/storage_snapshots/new", "storage_snapshots.new", "GET"),
        _rule("/storage_snapshots", "storage_snapshots.create", "POST"),
        _rule("/storage_snapshots/<id:id>", "storage_snapshots.show", "GET"),
        _rule("/storage_snapshots/<id:id>", "storage_snapshots.destroy", "DELETE"),
        # Browsers' forms know no DELETE: POST with _method=delete.
        _rule("/storage_snapshots/<id:id>", "storage_snapshots.destroy_by_post", "POST"),
    ],
    converters={"matrix": _MatrixConverter, "id": _IdConverter},
    strict_slashes=False,
    merge_slashes=False,
    redirect_defaults=False,
)


class Route(NamedTuple):
    """Which operation an address asks for, and of which member; of none where ``id`` is empty."""

    operation: str
    id: str


class Urls:
    """Every href of an answer, on the host and below the prefix that the request came to."""

    def __init__(self, application_url: str, adapter: MapAdapter, matrix: Matrix) -> None:
        self._application_url = application_url
        self._adapter = adapter
        self._matrix = matrix

    def in_provider(self, provider: str) -> "Urls":
        """Make the hrefs of another provider."""
        matrix = (("driver", DRIVER), ("provider", provider))
        return Urls(self._application_url, self._adapter, matrix)

    def entry_point(self) -> str:
        """Href of the entry point."""
        return self._build("entry_point.show")

    def collection(self, name: str) -> str:
        """Href of a collection; an id behind a slash makes it the href of a member."""
        return self._build(f"{name}.index")

    def new(self, name: str) -> str:
        """Href of the form that makes a new member of a collection."""
        return self._build(f"{name}.new")

    def member(self, name: str, id: str) -> str:
        """Href of one member of a collection."""
        return self._build(f"{name}.show", id=id)

    def _build(self, endpoint: str, **values: str) -> str:
        path = self._adapter.build(endpoint, {"matrix": self._matrix, **values}, method="GET")
        return self._application_url + path


def driver_and_provider(path: str) -> Matrix:
    """Read the matrix parameters of an address that name the driver and the provider.

    ``path`` is decoded, as PATH_INFO is. An empty parameter counts as not there; one that is
    given twice is a 400 ``DeltacloudError``.
    """
    segment, _, parameters = path.lstrip("/").partition("/")[0].partition(";")
    if segment != "api":
        return ()
    matrix = tuple((name, value) for name, value in _pairs(parameters) if name in _NAMED and value)
    if len(dict(matrix)) != len(matrix):
        raise DeltacloudError(400, "A matrix parameter is given twice: once is enough.")
    return matrix


_NAMED = ("driver", "provider")


def match(method: str, path: str, application_url: str, matrix: Matrix) -> tuple[Route, Urls]:
    """Find the operation of a request, and the hrefs that stay in its driver and provider.

    ``path`` is decoded, as PATH_INFO is; ``application_url`` is what stands before it. Raises
    ``DeltacloudError``: 404 for an unknown address, 405 with ``Allow`` for a method that the
    address does not have.
    """
    adapter = _adapter(path)
    try:
        endpoint, values = adapter.match(method=method)
    except MethodNotAllowed:
        allowed = ", ".join(allowed_methods(path))
        raise DeltacloudError(
            405, f"{method} is not possible here, only {allowed}.", headers={"Allow": allowed}
        ) from None
    except HTTPException:
        raise nothing_at(path) from None
    return Route(endpoint, values.get("id", "")), Urls(application_url, adapter, matrix)


def nothing_at(path: str) -> DeltacloudError:
    """Make the 404 of an unknown address."""
    return DeltacloudError(404, f"There is nothing at {path!r}.")


def allowed_methods(path: str) -> list[str]:
    """List the methods that an address has, with OPTIONS; an unknown address has none."""
    methods = set(_adapter(path).allowed_methods())
    return sorted({*methods, "OPTIONS"}) if methods else []


def asks_for_snapshots(path: str, driver: str | None) -> bool:
    """Tell whether an address is one of the storage snapshots of the ec2 driver.

    ``driver`` is that of the header; the one in ``path`` comes first, and where none is named it
    is ec2. Methods do not matter.
    """
    adapter = _adapter(path)
    methods = list(adapter.allowed_methods())
    if not methods:
        return False
    endpoint, values = adapter.match(method=methods[0])
    named = {text for name, text in values["matrix"] if name == "driver" and text}
    return endpoint.startswith("storage_snapshots.") and (named or {driver or DRIVER}) == {DRIVER}


def _adapter(path: str) -> MapAdapter:
    # werkzeug takes several slashes at the start for one.
    return _MAP.bind("", path_info="" if path.startswith("//") else path)
