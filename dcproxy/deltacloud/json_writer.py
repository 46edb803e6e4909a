"""Deltacloud documents in JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.models import (
    Driver,
    ErrorDocument,
    Model,
    Realm,
    StorageSnapshot,
    StorageVolume,
)
from dcproxy.deltacloud.urls import Urls, is_plain, segment

_dump = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def headers() -> Mapping[str, str]:
    """Return the headers of a response in this format."""
    return {"Content-Type": "application/json"}


def entry_point(provider: str | None, urls: Urls) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    links = []
    for name, collection in protocol.COLLECTIONS.items():
        features = [
            {"name": name, "rel": operation, "params": [{"name": parameter}]}
            for name, operation, parameter in collection.features
        ]
        links.append({"rel": name, "href": urls.collection(name), "features": features})
    provider = provider or protocol.DEFAULT_PROVIDER
    api = {"version": protocol.VERSION, "driver": protocol.DRIVER, "provider": provider}
    return _dump({"api": {**api, "links": links}})


def collection(name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
    """Write the list of a collection."""
    _, value_of = _MEMBERS[name]
    yield f'{{"{name}":['
    comma = ""
    for page in pages:
        if page:
            yield comma + _dump(list(map(value_of(urls), page)))[1:-1]
            comma = ","
    yield "]}"


def member(collection: str, model: Model, urls: Urls) -> str:
    """Write one member of a collection."""
    name, value_of = _MEMBERS[collection]
    return _dump({name: value_of(urls)(model)})


def _snapshot_value(urls: Urls) -> Callable[[StorageSnapshot], dict[str, Any]]:
    return partial(
        _snapshot, urls.collection("storage_snapshots"), urls.collection("storage_volumes")
    )


def _snapshot(snapshots_url: str, volumes_url: str, snapshot: StorageSnapshot) -> dict[str, Any]:
    id, name, description, created, _, state, volume_id, _, _ = snapshot
    id_in_url, volume_in_url = id, volume_id
    if not is_plain(f"{id}{volume_id}"):
        id_in_url, volume_in_url = segment(id), segment(volume_id)
    return {
        "id": id,
        "href": f"{snapshots_url}/{id_in_url}",
        "name": name,
        "description": description or None,
        "state": state,
        "created": created or None,
        "storage_volume": {
            "id": volume_id,
            "href": f"{volumes_url}/{volume_in_url}",
            "rel": "storage_volume",
        }
        if volume_id
        else None,
    }


def _volume(urls: Urls, volume: StorageVolume) -> dict[str, Any]:
    href = urls.member("storage_volumes", volume.id)
    mount = volume.mounts[0] if volume.mounts else None
    realm = {"id": volume.realm_id, "href": urls.member("realms", volume.realm_id), "rel": "realm"}
    return {
        "id": volume.id,
        "href": href,
        "name": volume.name,
        "description": volume.description or None,
        "state": volume.state,
        "created": volume.created or None,
        "capacity": volume.capacity,
        "kind": None,
        "device": (mount.device or None) if mount else None,
        "realm": realm if volume.realm_id else None,
        "instance": {"id": mount.instance_id} if mount else {},
        "actions": [
            {"rel": action.rel, "method": action.method, "href": f"{href}{action.path}"}
            for action in volume.actions
        ],
    }


def _realm(urls: Urls, realm: Realm) -> dict[str, Any]:
    return {
        "id": realm.id,
        "href": urls.member("realms", realm.id),
        "name": realm.id,
        "state": realm.state,
        "limit": "unlimited" if realm.limit is None else realm.limit,
    }


def _driver(driver: Driver) -> dict[str, Any]:
    return {"name": driver.name, "entrypoints": {driver.id: dict(driver.providers)}}


def _collection_docs(urls: Urls, collection: protocol.Collection) -> dict[str, Any]:
    operations = [
        {
            "name": operation.name,
            "method": operation.method,
            "description": operation.description,
            "params": [{"name": name, "type": type} for name, type in operation.parameters],
        }
        for operation in collection.operations
    ]
    return {**_summary(urls, collection), "operations": operations}


def _summary(urls: Urls, collection: protocol.Collection) -> dict[str, str]:
    url = urls.member("docs", collection.name)
    return {"name": collection.name, "url": url, "description": collection.description}


_MEMBERS: dict[str, tuple[str, Callable[[Urls], Callable[[Any], dict[str, Any]]]]] = {
    "docs": ("docs", lambda urls: partial(_collection_docs, urls)),
    "drivers": ("driver", lambda urls: lambda driver: {"id": driver.id, **_driver(driver)}),
    "realms": ("realm", lambda urls: partial(_realm, urls)),
    "storage_snapshots": ("storage_snapshot", _snapshot_value),
    "storage_volumes": ("storage_volume", lambda urls: partial(_volume, urls)),
}
"""For each collection, the name of a member, and what makes the function of its value."""


def drivers(drivers: Sequence[Driver], urls: Urls) -> str:
    """Write the list of drivers."""
    return _dump({driver.id: _driver(driver) for driver in drivers})


def docs(urls: Urls) -> str:
    """Write the list of documented collections."""
    return _dump({"docs": [_summary(urls, each) for each in protocol.COLLECTIONS.values()]})


def error(error: ErrorDocument, urls: Urls | None) -> str:
    """Write an error."""
    return _dump({"code": error.status, "message": error.message, "error": error.code})
