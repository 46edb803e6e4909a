"""Every href of a document, and the matrix parameters that some of them carry.

Deltacloud puts the driver and the provider (the EC2 region) into matrix parameters of the first
segment: ``/api;driver=ec2;provider=eu-west-1/storage_snapshots/snap-1``.
"""

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from dcproxy.deltacloud.protocol import DRIVER

ENTRY_POINT = "/api"

Matrix = tuple[tuple[str, str], ...]


class Urls:
    """The hrefs of a response, with the host, the prefix and the provider of its request.

    ``page`` is what follows the entry point in the address of the page that another provider has
    instead. ``region`` is that of EC2, empty while it is unknown: pages name it.
    """

    def __init__(
        self, application_url: str, matrix: Iterable[tuple[str, str]], page: str = ""
    ) -> None:
        self.page = page
        self.region = ""
        self._application_url = application_url
        parameters = "".join(f";{name}={quote(value, safe='')}" for name, value in matrix)
        self._entry_point = f"{application_url}{ENTRY_POINT}{parameters}"

    def in_provider(self, provider: str) -> "Urls":
        """Return the hrefs of another provider."""
        return Urls(self._application_url, (("driver", DRIVER), ("provider", provider)))

    def choice_of_provider(self) -> str:
        """Return the href of the page that links this page in every provider."""
        return f"{self.member('drivers', DRIVER)}?{urlencode({'page': self.page})}"

    def entry_point(self) -> str:
        """Return the href of the entry point."""
        return self._entry_point

    def collection(self, name: str) -> str:
        """Return the href of a collection; a slash and an id make it the href of a member."""
        return f"{self._entry_point}/{name}"

    def new(self, name: str) -> str:
        """Return the href of the form that creates a member of a collection."""
        return f"{self._entry_point}/{name}/new"

    def member(self, name: str, id: str) -> str:
        """Return the href of a member of a collection."""
        return f"{self._entry_point}/{name}/{segment(id)}"


def segment(id: str) -> str:
    """Percent-encode an id as a segment of a path; most ids need no encoding."""
    return id if is_plain(id) else quote(id, safe="")


def is_plain(text: str) -> bool:
    """Tell whether a text needs no escaping in any document: letters, digits and hyphens."""
    return text.isascii() and text.replace("-", "").isalnum()


def split_matrix(path: str) -> tuple[str, Matrix]:
    """Split a decoded path into the path without matrix parameters, and driver and provider.

    Only those of the first segment count, and empty ones do not. All others are dropped.
    """
    first, *rest = path.removeprefix("/").split("/")
    name, _, parameters = first.partition(";")
    if f"/{name}" != ENTRY_POINT or not path.startswith("/"):
        return path, ()
    pairs = (part.partition("=") for part in parameters.split(";"))
    matrix = tuple(
        (name, value) for name, _, value in pairs if name in {"driver", "provider"} and value
    )
    return "/".join([ENTRY_POINT, *(segment.partition(";")[0] for segment in rest)]), matrix
