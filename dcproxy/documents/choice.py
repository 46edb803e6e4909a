"""Which format an answer has: ``?format=`` decides, else ``Accept``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from webob.acceptparse import create_accept_header

from dcproxy.documents import html, json, xml
from dcproxy.documents.report import ErrorReport
from dcproxy.errors import DeltacloudError
from dcproxy.native import Snapshot, Volume, Zone
from dcproxy.routes import Urls


class Documents(Protocol):
    """What every format can write.

    A document of one thing is a text; a list is an iterator of texts, one for each page of
    records and what stands before and after them.
    """

    def entry_point(self, urls: Urls, provider: str | None) -> str:
        """Write the entry point; ``provider`` is the one that the request named."""

    def storage_snapshots(self, pages: Iterable[Sequence[Snapshot]], urls: Urls) -> Iterator[str]:
        """Write a list of snapshots."""

    def storage_snapshot(self, snapshot: Snapshot, urls: Urls) -> str:
        """Write one snapshot."""

    def storage_volumes(self, pages: Iterable[Sequence[Volume]], urls: Urls) -> Iterator[str]:
        """Write a list of volumes."""

    def storage_volume(self, volume: Volume, urls: Urls) -> str:
        """Write one volume."""

    def realms(self, pages: Iterable[Sequence[Zone]], urls: Urls) -> Iterator[str]:
        """Write a list of realms."""

    def realm(self, zone: Zone, urls: Urls) -> str:
        """Write one realm."""

    def drivers(self, hosts: Mapping[str, str], urls: Urls) -> str:
        """Write the list of drivers; ``hosts`` are the providers, none when there is no driver."""

    def driver(self, hosts: Mapping[str, str], urls: Urls) -> str:
        """Write the one driver; ``hosts`` are its providers with the host of EC2 in each."""

    def error(self, report: ErrorReport) -> str:
        """Write an error."""


class Format(NamedTuple):
    """A media type, the headers of an answer in it, and the module that writes it."""

    media_type: str
    headers: Mapping[str, str]
    documents: Documents

    @property
    def is_page(self) -> bool:
        """Whether this is for people, who get forms and are led on."""
        return self.documents is html


# In the order of our preference, which decides where a client has none.
FORMATS = {
    "xml": Format("application/xml", {"Content-Type": "application/xml"}, xml),
    "json": Format("application/json", {"Content-Type": "application/json"}, json),
    "html": Format("text/html", html.HEADERS, html),
}
DEFAULT = FORMATS["xml"]
_BY_MEDIA_TYPE = {format.media_type: format for format in FORMATS.values()}


def choose(format_parameter: str | None, accept: str | None) -> Format:
    """Choose the format of an answer.

    ``format_parameter`` is that of the query, ``accept`` the header; None where there is none.
    Raises a 406 ``DeltacloudError`` when what is asked for is not to be had.
    """
    if format_parameter:
        chosen = FORMATS.get(format_parameter)
        if chosen is None:
            raise DeltacloudError(
                406, f"There is no format {format_parameter!r}, only {', '.join(FORMATS)}."
            )
        return chosen
    return _negotiate(accept)


@lru_cache(maxsize=256)
def _negotiate(accept: str | None) -> Format:
    ranges = _ranges(accept)
    # Among equals, the one that the client names comes before one that */* lets in.
    offers = sorted(_BY_MEDIA_TYPE, key=lambda media_type: media_type not in ranges)
    # WebOb takes a range with a parameter (charset=utf-8) for another type: without them.
    header = ", ".join(f"{name};q={quality}" for name, quality in ranges.items())
    acceptable = create_accept_header(header or None).acceptable_offers(offers)
    if not acceptable:
        raise DeltacloudError(
            406, f"None of the media types in Accept is to be had, only {', '.join(offers)}."
        )
    return _BY_MEDIA_TYPE[acceptable[0][0]]


def _ranges(accept: str | None) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for media_range, quality, _, _ in create_accept_header(accept or None).parsed or ():
        name = media_range.partition(";")[0].lower()
        ranges[name] = max(quality, ranges.get(name, 0.0))
    return ranges
