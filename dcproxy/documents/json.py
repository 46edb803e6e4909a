"""Deltacloud documents in JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot, Volume, Zone
from dcproxy.routes import Urls

R = TypeVar("R")


_dump = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


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
    return _list("storage_snapshots", pages, partial(_snapshot, *_snapshot_hrefs(urls)))


def _list(
    name: str, pages: Iterable[Sequence[R]], value_of: Callable[[R], dict[str, Any]]
) -> Iterator[str]:
    yield f'{{"{name}":['
    comma = ""
    for page in pages:
        if page:
            yield comma + _dump(list(map(value_of, page)))[1:-1]
            comma = ","
    yield "]}"


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _dump({"storage_snapshot": _snapshot(*_snapshot_hrefs(urls), snapshot)})


def _snapshot_hrefs(urls: Urls) -> tuple[str, str]:
    return urls.collection("storage_snapshots"), urls.collection("storage_volumes")


def _snapshot(snapshots_url: str, volumes_url: str, snapshot: Snapshot) -> dict[str, Any]:
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


def storage_volumes(pages: Iterable[Sequence[Volume]], urls: Urls) -> Iterator[str]:
    """Write a list of volumes."""
    return _list("storage_volumes", pages, lambda volume: _volume(volume, urls))


def storage_volume(volume: Volume, urls: Urls) -> str:
    """Write one volume."""
    return _dump({"storage_volume": _volume(volume, urls)})


def _volume(volume: Volume, urls: Urls) -> dict[str, Any]:
    return {
        "id": volume.id,
        "href": urls.member("storage_volumes", volume.id),
        "name": volume.name or volume.id,
        "description": None,
        "state": volume.status.upper(),
        "created": deltacloud.created(volume.create_time) if volume.create_time else None,
        "capacity": int(volume.size),
        "kind": None,
        "device": volume.device or None,
        "realm": {"id": volume.zone, "href": urls.member("realms", volume.zone), "rel": "realm"},
        "instance": {"id": volume.instance_id} if volume.instance_id else {},
        "actions": [],
    }


def realms(pages: Iterable[Sequence[Zone]], urls: Urls) -> Iterator[str]:
    """Write a list of realms."""
    return _list("realms", pages, lambda zone: _realm(zone, urls))


def realm(zone: Zone, urls: Urls) -> str:
    """Write one realm."""
    return _dump({"realm": _realm(zone, urls)})


def _realm(zone: Zone, urls: Urls) -> dict[str, Any]:
    return {
        "id": zone.name,
        "href": urls.member("realms", zone.name),
        "name": zone.name,
        "state": zone.state,
        "limit": "unlimited" if zone.state == "available" else 0,
    }


def drivers(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the list of drivers; ``hosts`` are the providers, none when there is no driver."""
    return _dump({deltacloud.DRIVER: _driver(hosts)} if hosts else {})


def driver(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the one driver; ``hosts`` are its providers with the host of EC2 in each."""
    return _dump({"driver": {"id": deltacloud.DRIVER, **_driver(hosts)}})


def _driver(hosts: Mapping[str, str]) -> dict[str, Any]:
    return {"name": deltacloud.DRIVER_NAME, "entrypoints": {deltacloud.DRIVER: dict(hosts)}}


def error(report: ErrorReport) -> str:
    """Write an error."""
    return _dump(
        {
            "code": report.status,
            "message": report.message,
            "error": report.ec2_code or report.reason,
        }
    )
