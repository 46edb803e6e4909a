"""Deltacloud documents in JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot
from dcproxy.routes import Urls


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def entry_point(urls: Urls, provider: str | None) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    links = [
        {
            "rel": name,
            "href": urls.collection(name),
            "features": [
                {
                    "name": feature.name,
                    "rel": feature.operation,
                    "params": [{"name": feature.parameter}],
                }
                for feature in features
            ],
        }
        for name, features in deltacloud.COLLECTIONS.items()
    ]
    return _dump(
        {
            "api": {
                "version": deltacloud.VERSION,
                "driver": deltacloud.DRIVER,
                "provider": provider,
                "links": links,
            }
        }
    )


def storage_snapshots(pages: Iterable[Sequence[Snapshot]], urls: Urls) -> Iterator[str]:
    """Write a list of snapshots."""
    snapshots_url, volumes_url = _snapshot_hrefs(urls)
    pages_of_values = (
        [_snapshot(snapshot, snapshots_url, volumes_url) for snapshot in page] for page in pages
    )
    return _list("storage_snapshots", pages_of_values)


def _list(name: str, pages: Iterable[list[dict[str, Any]]]) -> Iterator[str]:
    yield f'{{"{name}":['
    comma = ""
    for page in pages:
        if page:
            yield comma + _dump(page)[1:-1]
            comma = ","
    yield "]}"


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _dump({"storage_snapshot": _snapshot(snapshot, *_snapshot_hrefs(urls))})


def _snapshot_hrefs(urls: Urls) -> tuple[str, str]:
    return urls.collection("storage_snapshots"), urls.collection("storage_volumes")


def _snapshot(snapshot: Snapshot, snapshots_url: str, volumes_url: str) -> dict[str, Any]:
    id, volume_id, start_time, status, description, name = snapshot
    return {
        "id": id,
        "href": f"{snapshots_url}/{id}",
        "name": name or id,
        "description": description or None,
        "state": status,
        "created": deltacloud.created(start_time) if start_time else None,
        "storage_volume": {
            "id": volume_id,
            "href": f"{volumes_url}/{volume_id}",
            "rel": "storage_volume",
        }
        if volume_id
        else None,
    }


def error(report: ErrorReport) -> str:
    """Write an error."""
    return _dump(
        {
            "code": report.status,
            "message": report.message,
            "error": report.ec2_code or report.reason,
        }
    )
