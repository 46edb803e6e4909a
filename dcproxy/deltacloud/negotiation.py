"""The format of a response: ``?format=`` decides, else ``Accept``."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from webob.acceptparse import create_accept_header

from dcproxy.deltacloud import json_writer, xml_writer
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import Model
from dcproxy.deltacloud.urls import Urls


class Renderer(Protocol):
    """The module that writes the documents of a format; ``HEADERS`` are those of a response.

    The documents, and the values that they show: ``entry_point`` (the provider that the request
    named, or None), ``error`` (``ErrorDocument``), ``drivers`` and ``docs`` (the list of all), and
    the members ``driver``, ``doc``, ``realm``, ``storage_snapshot`` and ``storage_volume``.
    """

    HEADERS: dict[str, str]

    def document(self, name: str, value: Any, urls: Urls) -> str:
        """Write one document."""

    def collection(self, name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
        """Write a list in pieces: before, each page, after."""


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
_ALIASES = {"text/xml": "application/xml", "application/xhtml+xml": "text/html"}
"""Media types that get the document of another one, which the response names."""


def choose(format_parameter: str | None, accept: str | None) -> Format:
    """Choose the format of a response.

    ``format_parameter`` is that of the query, ``accept`` the header; None where absent. Raises a
    406 ``ApiError`` for a format that does not exist.
    """
    if not format_parameter:
        return _negotiate(accept)
    if format_parameter in FORMATS:
        return FORMATS[format_parameter]
    raise ApiError(406, f"There is no format {format_parameter!r}, only {', '.join(FORMATS)}.")


def choose_for_error(format_parameter: str | None, accept: str | None) -> Format:
    """Choose as ``choose``; where that raises, the format of ``accept``, else XML."""
    for parameter in (format_parameter, None):
        with suppress(ApiError):
            return choose(parameter, accept)
    return FORMATS["xml"]


@lru_cache(maxsize=256)
def _negotiate(accept: str | None) -> Format:
    ranges: dict[str, float] = {}
    for media_range, weight, _, _ in create_accept_header(accept or None).parsed or ():
        # For WebOb, a range with a parameter (charset=utf-8) is another media type.
        name = media_range.partition(";")[0].lower()
        name = _ALIASES.get(name, name)
        ranges[name] = max(weight, ranges.get(name, 0.0))

    def preference(format: Format) -> tuple[float, bool]:
        name = format.media_type
        specific_first = (name, f"{name.partition('/')[0]}/*", "*/*")
        quality = next((ranges[each] for each in specific_first if each in ranges), 0.0)
        # Of equal ones, one that the client names comes before one that */* allows.
        return quality, name in ranges

    best = max(FORMATS.values(), key=preference)
    if ranges and not preference(best)[0]:
        offers = ", ".join(format.media_type for format in FORMATS.values())
        raise ApiError(406, f"None of the media types in Accept is available, only {offers}.")
    return best
