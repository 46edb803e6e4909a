"""Deltacloud documents as HTML pages, which work without scripts."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.models import Driver, ErrorDocument, Model, Realm, StorageVolume
from dcproxy.deltacloud.urls import Urls, segment

_ROWS_GO_HERE = "<!-- rows -->"

_COLUMNS = {
    "realms": ("Id", "State"),
    "storage_snapshots": (
        "Id",
        "Name",
        "Description",
        "Created",
        "State",
        "Size",
        "Owner",
        "Encrypted",
        "Volume",
    ),
    "storage_volumes": ("Id", "Name", "Created", "Capacity", "State", "Realm"),
}
"""The table of each collection."""

_SNAPSHOT_FIELDS = ("volume_id", "name", "description")
_ATTACHMENT_FIELDS = ("instance_id", "device")
_VOLUME_FIELDS = ("snapshot_id", "capacity", "realm_id", "name", "description")


@cache
def headers() -> Mapping[str, str]:
    """Return the headers of a response in this format; they keep other pages from using it."""
    style_hash = base64.b64encode(sha256(_style().encode()).digest()).decode()
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style_hash}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        # Not no-referrer: browsers would then send "Origin: null" with the forms of these pages.
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }


# A part of each page: browsers compare a hash in the policy with inline styles only, and an address
# of its own would have to reach dcproxy through every proxy and filter.
@cache
def _style() -> str:
    folder = files(__package__) / "templates"
    return "".join(
        (folder / name).read_text("utf-8") for name in ("simple-2.3.7.min.css", "style.css")
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        protocol=protocol,
        style=Markup(_style()),  # noqa: S704 (a file of the package)
    )
    environment.filters["segment"] = segment
    return environment


def _page(template: str, urls: Urls | None, **values: object) -> str:
    return _templates().get_template(template).render(urls=urls, **values)


def entry_point(provider: str | None, urls: Urls) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    return _page("entry_point.html", urls, provider=provider)


def collection(
    name: str, pages: Iterable[Sequence[Model]], urls: Urls, *, search: str = "", owner_id: str = ""
) -> Iterator[str]:
    """Write the list of a collection, which says how long it is, also while it still loads.

    ``search`` and ``owner_id`` are those of a list of storage snapshots.
    """
    columns = _COLUMNS[name]
    list_page = _page(f"{name}.html", urls, columns=columns, search=search, owner_id=owner_id)
    before, after = list_page.split(_ROWS_GO_HERE)
    rows = _templates().get_template(f"{name}_rows.html")
    count = 0

    def length(is_complete: bool) -> str:
        values = {"columns": columns, "count": count, "name": name.replace("_", " ")}
        return _page("list_count.html", urls, is_complete=is_complete, **values)

    yield before
    for page in pages:
        count += len(page)
        yield f"<tbody>\n{rows.render(page=page)}</tbody>\n{length(is_complete=False)}"
    yield f"{length(is_complete=True)}{after}"


def member(collection: str, model: Model, urls: Urls) -> str:
    """Write one member of a collection."""
    if isinstance(model, StorageVolume):
        return storage_volume(model, urls, {})
    return _page(f"{collection.removesuffix('s')}.html", urls, model=model)


def storage_volume(
    model: StorageVolume, urls: Urls, values: Mapping[str, str], error: ErrorDocument | None = None
) -> str:
    """Write a volume with the form for a snapshot of it, and forms for what its state allows.

    The form that attaches it is filled with ``values``. ``error`` says why an attach or detach
    failed.
    """
    return _page(
        "storage_volume.html",
        urls,
        model=model,
        form=_filled(_SNAPSHOT_FIELDS, {"volume_id": model.id}),
        attachment=_filled(_ATTACHMENT_FIELDS, values),
        error=error,
    )


def new_storage_snapshot(
    values: Mapping[str, str],
    urls: Urls,
    volumes: Sequence[StorageVolume],
    error: ErrorDocument | None = None,
) -> str:
    """Write the form that creates a storage snapshot, filled with ``values``.

    It offers ``volumes``, and takes the id of any other. ``error`` says why a create failed.
    """
    form = _filled(_SNAPSHOT_FIELDS, values)
    return _page("new_storage_snapshot.html", urls, form=form, volumes=volumes, error=error)


def new_storage_volume(
    values: Mapping[str, str],
    urls: Urls,
    realms: Sequence[Realm],
    error: ErrorDocument | None = None,
) -> str:
    """Write the form that creates a storage volume, filled with ``values``.

    It offers ``realms``; without any, it takes the name of one. ``error`` says why a create failed.
    """
    form = _filled(_VOLUME_FIELDS, values)
    return _page("new_storage_volume.html", urls, form=form, realms=realms, error=error)


def _filled(names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
    return {name: values.get(name, "") for name in names}


def drivers(drivers: Sequence[Driver], urls: Urls) -> str:
    """Write the list of drivers."""
    return _page("drivers.html", urls, drivers=drivers)


def docs(urls: Urls) -> str:
    """Write the list of documented collections."""
    return _page("docs.html", urls)


def error(error: ErrorDocument, urls: Urls | None) -> str:
    """Write an error."""
    return _page("error.html", urls, error=error)
