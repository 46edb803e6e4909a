"""Deltacloud documents as pages for people: rendered here, working without a script."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot, Volume, Zone
from dcproxy.routes import Urls

R = TypeVar("R")

_STYLE = (files("dcproxy.documents") / "templates" / "style.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""What a page is sent with, so that no other page can use it."""

_TEMPLATES = Environment(
    loader=PackageLoader("dcproxy.documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(deltacloud=deltacloud, style=Markup(_STYLE))  # noqa: S704 (our own file)

_ROWS_GO_HERE = "<!-- rows -->"


def _page(template: str, urls: Urls | None, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(urls=urls, **values)


def _list(name: str, pages: Iterable[Sequence[R]], urls: Urls) -> Iterator[str]:
    before, after = _page(f"{name}.html", urls).split(_ROWS_GO_HERE)
    rows = _TEMPLATES.get_template(f"{name}_rows.html")
    hrefs = {collection: urls.collection(collection) for collection in deltacloud.COLLECTIONS}
    yield before
    for page in pages:
        yield rows.render(page=page, hrefs=hrefs)
    yield after


def entry_point(urls: Urls, provider: str | None) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    return _page("entry_point.html", urls, provider=provider)


def storage_snapshots(pages: Iterable[Sequence[Snapshot]], urls: Urls) -> Iterator[str]:
    """Write a list of snapshots."""
    return _list("storage_snapshots", pages, urls)


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _page("storage_snapshot.html", urls, snapshot=snapshot)


def new_storage_snapshot(form: Mapping[str, str], urls: Urls) -> str:
    """Write the form that makes a snapshot; ``form`` is what stands in it already."""
    return _page("new_storage_snapshot.html", urls, form=_filled(form), report=None)


def _filled(form: Mapping[str, str]) -> dict[str, str]:
    return {field: form.get(field, "") for field in ("volume_id", "name", "description")}


def storage_volumes(pages: Iterable[Sequence[Volume]], urls: Urls) -> Iterator[str]:
    """Write a list of volumes."""
    return _list("storage_volumes", pages, urls)


def storage_volume(volume: Volume, urls: Urls) -> str:
    """Write one volume, with the form that makes a snapshot of it."""
    form = _filled({"volume_id": volume.id})
    return _page("storage_volume.html", urls, volume=volume, form=form, report=None)


def realms(pages: Iterable[Sequence[Zone]], urls: Urls) -> Iterator[str]:
    """Write a list of realms."""
    return _list("realms", pages, urls)


def realm(zone: Zone, urls: Urls) -> str:
    """Write one realm."""
    return _page("realm.html", urls, zone=zone)


def drivers(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the list of drivers; ``hosts`` are the providers, none when there is no driver."""
    return _page("drivers.html", urls, hosts=hosts)


def driver(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the one driver; ``hosts`` are its providers with the host of EC2 in each."""
    return _page("driver.html", urls, hosts=hosts)


def error(report: ErrorReport) -> str:
    """Write an error; one of a form is that form again, with what was typed into it."""
    if report.form is not None:
        form = _filled(report.form)
        return _page("new_storage_snapshot.html", report.urls, form=form, report=report)
    return _page("error.html", report.urls, report=report)
