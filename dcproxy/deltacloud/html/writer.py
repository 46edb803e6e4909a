"""Deltacloud documents as HTML pages, which work without scripts."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.models import ErrorDocument, Model
from dcproxy.deltacloud.urls import Urls, segment

_ROWS_GO_HERE = "<!-- rows -->"

_SNAPSHOT_COLUMNS = "Id Name Description Created State Size Owner Encrypted Volume"
_COLUMNS = {
    "realms": ("Id", "State"),
    "storage_snapshots": _SNAPSHOT_COLUMNS.split(),
    "storage_volumes": ("Id", "Name", "Created", "Capacity", "State", "Realm"),
}
"""The table of each collection."""

_FIELDS = {
    "new_storage_snapshot": ("volume_id", "name", "description"),
    "new_storage_volume": ("snapshot_id", "capacity", "realm_id", "name", "description"),
    "storage_volume": ("instance_id", "device"),
}
"""The fields of the form of a page."""

# A part of each page: browsers compare a hash in the policy with inline styles only, and an address
# of its own would have to reach dcproxy through every proxy and filter.
_STYLE = "".join(
    (files(__package__) / "templates" / name).read_text("utf-8")
    for name in ("simple-2.3.7.min.css", "style.css")
)
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

# They keep other pages from using a page.
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer: browsers would then send "Origin: null" with the forms of these pages.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

_TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(
    protocol=protocol,
    style=Markup(_STYLE),  # noqa: S704 (a file of the package)
)
_TEMPLATES.filters["segment"] = segment


def document(
    name: str,
    value: Any,
    urls: Urls,
    *,
    values: Mapping[str, str] | None = None,
    error: ErrorDocument | None = None,
    **others: object,
) -> str:
    """Write the page of a template; ``Renderer`` has the names and values.

    A form is filled with ``values``, and ``error`` says why it failed. ``others`` are those of the
    template: ``volumes`` and ``realms`` that a form offers.
    """
    form = {field: (values or {}).get(field, "") for field in _FIELDS.get(name, ())}
    template = _TEMPLATES.get_template(f"{name}.html")
    return template.render(model=value, urls=urls, form=form, error=error, **others)


def collection(
    name: str, pages: Iterable[Sequence[Model]], urls: Urls, *, search: str = "", owner_id: str = ""
) -> Iterator[str]:
    """Write the list of a collection, which says how long it is, also while it still loads.

    ``search`` and ``owner_id`` are those of a list of storage snapshots.
    """
    columns = _COLUMNS[name]
    list_page = document(name, None, urls, columns=columns, search=search, owner_id=owner_id)
    before, after = list_page.split(_ROWS_GO_HERE)
    rows = _TEMPLATES.get_template(f"{name}_rows.html")
    length = _TEMPLATES.get_template("list_count.html")
    values = {"columns": columns, "name": name.replace("_", " ")}
    count = 0
    yield before
    for page in pages:
        count += len(page)
        so_far = length.render(values, count=count, is_complete=False)
        yield f"<tbody>\n{rows.render(page=page)}</tbody>\n{so_far}"
    yield f"{length.render(values, count=count, is_complete=True)}{after}"
