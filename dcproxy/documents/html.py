"""Deltacloud documents as pages for people."""

from collections.abc import Iterable, Iterator, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot
from dcproxy.routes import Urls

_TEMPLATES = Environment(
    loader=PackageLoader("dcproxy.documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["deltacloud"] = deltacloud
_ROWS_GO_HERE = "<!-- rows -->"


def entry_point(urls: Urls, provider: str | None) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    return _page("entry_point.html", urls, provider=provider)


def storage_snapshots(pages: Iterable[Sequence[Snapshot]], urls: Urls) -> Iterator[str]:
    """Write a list of snapshots."""
    before, after = _page("storage_snapshots.html", urls).split(_ROWS_GO_HERE)
    rows = _TEMPLATES.get_template("storage_snapshot_rows.html")
    snapshots_url, volumes_url = (
        urls.collection("storage_snapshots"),
        urls.collection("storage_volumes"),
    )
    yield before
    for page in pages:
        yield rows.render(page=page, snapshots_url=snapshots_url, volumes_url=volumes_url)
    yield after


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _page("storage_snapshot.html", urls, snapshot=snapshot)


def error(report: ErrorReport) -> str:
    """Write an error."""
    return _TEMPLATES.get_template("error.html").render(urls=None, report=report)


def _page(template: str, urls: Urls, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(urls=urls, **values)
