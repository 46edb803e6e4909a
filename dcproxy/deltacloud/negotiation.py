"""The format of a response: ``?format=`` decides, else ``Accept``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, Protocol

from webob.acceptparse import create_accept_header

from dcproxy.deltacloud import json_writer, xml_writer
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import Driver, ErrorDocument, Model
from dcproxy.deltacloud.urls import Urls


class Renderer(Protocol):
    """The documents of a format. A list is yielded in pieces: before, each page, after."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a response in this format."""

    def entry_point(self, provider: str | None, urls: Urls) -> str:
        """Write the entry point; ``provider`` is the one that the request named."""

    def collection(self, name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
        """Write the list of a collection."""

    def member(self, collection: str, model: Model, urls: Urls) -> str:
        """Write one member of a collection."""

    def drivers(self, drivers: Sequence[Driver], urls: Urls) -> str:
        """Write the list of drivers."""

    def docs(self, urls: Urls) -> str:
        """Write the list of documented collections."""

    def error(self, error: ErrorDocument, urls: Urls | None) -> str:
        """Write an error; ``urls`` is None when the path of the request is unknown."""


class Format(NamedTuple):
    """A media type and the module that writes it."""

    media_type: str
    renderer: Renderer

    @property
    def is_page(self) -> bool:
        """Whether a person reads it in a browser."""
        return self.renderer is html_writer


# In the order of preference for a client without one.
FORMATS = {
    "xml": Format("application/xml", xml_writer),
    "json": Format("application/json", json_writer),
    "html": Format("text/html", html_writer),
}
_BY_MEDIA_TYPE = {format.media_type: format for format in FORMATS.values()}
_ALIASES = {"text/xml": "application/xml", "application/xhtml+xml": "text/html"}
"""Media types that get the document of another one, which the response names."""


def choose(format_parameter: str | None, accept: str | None) -> Format:
    """Choose the format of a response.

    ``format_parameter`` is that of the query, ``accept`` the header; None where absent. Raises a
    406 ``ApiError`` for a format that does not exist.
    """
    if format_parameter:
        chosen = FORMATS.get(format_parameter)
        if chosen is None:
            raise ApiError(
                406, f"There is no format {format_parameter!r}, only {', '.join(FORMATS)}."
            )
        return chosen
    return _negotiate(accept)


def choose_for_error(format_parameter: str | None, accept: str | None) -> Format:
    """Choose as ``choose``; where that raises, the format of ``accept``, else XML."""
    for parameter in (format_parameter, None):
        with suppress(ApiError):
            return choose(parameter, accept)
    return FORMATS["xml"]


@lru_cache(maxsize=256)
def _negotiate(accept: str | None) -> Format:
    ranges: dict[str, float] = {}
    for media_range, quality, _, _ in create_accept_header(accept or None).parsed or ():
        # For WebOb, a range with a parameter (charset=utf-8) is another media type.
        name = media_range.partition(";")[0].lower()
        name = _ALIASES.get(name, name)
        ranges[name] = max(quality, ranges.get(name, 0.0))
    # Of equal offers, one that the client names comes before one that */* allows.
    offers = sorted(_BY_MEDIA_TYPE, key=lambda media_type: media_type not in ranges)
    header = ", ".join(f"{name};q={quality}" for name, quality in ranges.items())
    acceptable = create_accept_header(header or None).acceptable_offers(offers)
    if not acceptable:
        raise ApiError(
            406, f"None of the media types in Accept is available, only {', '.join(offers)}."
        )
    return _BY_MEDIA_TYPE[acceptable[0][0]]
