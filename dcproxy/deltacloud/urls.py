"""Every href of a document, and the matrix parameters that some of them carry.

Deltacloud puts the driver and the provider (the EC2 region) into matrix parameters of the first
segment: ``/api;driver=ec2;provider=eu-west-1/storage_snapshots/snap-1``.
"""

from collections.abc import Iterable
from urllib.parse import quote

ENTRY_POINT = "/api"

Matrix = tuple[tuple[str, str], ...]


class Urls:
    """The hrefs of a response, with the host, the prefix and the provider of its request.

    ``entry_point`` is one of them. ``page`` is what follows the entry point in the address of the
    page that another provider has instead. ``region`` is that of EC2, empty while it is unknown:
    pages name it. Without ``application_url``, the hrefs are not known, and pages link nothing.
    """

    def __init__(
        self, application_url: str, matrix: Iterable[tuple[str, str]] = (), page: str = ""
    ) -> None:
        self.are_known = bool(application_url)
        self.page = page
        self.region = ""
        self._application_url = application_url
        parameters = "".join(f";{name}={quote(value, safe='')}" for name, value in matrix)
        self.entry_point = f"{application_url}{ENTRY_POINT}{parameters}"

    def with_matrix(self, **matrix: str) -> "Urls":
        """Return the hrefs with other matrix parameters."""
        return Urls(self._application_url, matrix.items())

    def collection(self, name: str) -> str:
        """Return the href of a collection; a slash and an id make it the href of a member."""
        return f"{self.entry_point}/{name}"

    def member(self, name: str, id: str) -> str:
        """Return the href of a member of a collection."""
        return f"{self.entry_point}/{name}/{segment(id)}"


def segment(id: str) -> str:
    """Percent-encode an id as a segment of a path; most ids need no encoding."""
    return id if is_plain(id) else quote(id, safe="")


def is_plain(text: str) -> bool:
    """Tell whether a text needs no escaping in any document: letters, digits and hyphens."""
    return text.isascii() and text.replace("-", "").isalnum()


def canonical_path(path: str) -> tuple[str, Matrix]:
    """Return what a decoded path means: the path to route, and the driver and provider in it.

    Empty and dot segments do not count, but a slash at the end does (Deltacloud uses
    rack-protection, which cleans paths before routing). The name of a realm may have slashes, so
    its empty segments stay, unless the path has dot segments. Driver and provider are matrix
    parameters of the first segment; empty ones do not count, and all others are dropped.
    """
    segments = path.split("/")
    names = [segment.partition(";")[0] for segment in segments]
    has_dots = not _DOTS.isdisjoint(names)
    kept: list[str] = []
    for name, segment in zip(names, segments, strict=True):
        is_in_realm = len(kept) > 2 and kept[1] == "realms" and not has_dots
        if name == "..":
            kept = kept[:-1]
        elif name not in {"", "."} or is_in_realm:
            # The parameters of the first segment are read below.
            kept.append(name if kept else segment)
    if kept and kept[-1] and names[-1] in {"", *_DOTS}:
        kept.append("")
    first, _, parameters = kept[0].partition(";") if kept else ("", "", "")
    if f"/{first}" != ENTRY_POINT:
        parameters = ""
    pairs = (part.partition("=") for part in parameters.split(";"))
    matrix = tuple(
        (name, value) for name, _, value in pairs if name in {"driver", "provider"} and value
    )
    return "/" + "/".join([first, *kept[1:]]), matrix


_DOTS = {".", ".."}
