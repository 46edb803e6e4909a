"""Deltacloud documents in JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.models import Driver, Model, Realm, StorageSnapshot, StorageVolume
from dcproxy.deltacloud.urls import Urls, is_plain, segment

HEADERS = {"Content-Type": "application/json"}

_dump = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def document(name: str, value: Any, urls: Urls) -> str:
    """Write one document; ``Renderer`` has the names and values."""
    if name in _DOCUMENTS:
        return _dump(_DOCUMENTS[name](urls, value))
    return _dump({name: _values(name, urls)(value)})


def collection(name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
    """Write the list of a collection."""
    value_of = _values(name.removesuffix("s"), urls)
    yield f'{{"{name}":['
    comma = ""
    for page in pages:
        if page:
            yield comma + _dump(list(map(value_of, page)))[1:-1]
            comma = ","
    yield "]}"


def _values(name: str, urls: Urls) -> Callable[[Any], dict[str, Any]]:
    """Return what makes the value of a member of a collection."""
    if name != "storage_snapshot":
        return partial(_MEMBERS[name], urls)
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


def _entry_point(urls: Urls, provider: str | None) -> dict[str, Any]:
    links = [
        {
            "rel": collection.name,
            "href": urls.collection(collection.name),
            "features": [
                {"name": name, "rel": operation, "params": [{"name": parameter}]}
                for name, operation, parameter in collection.features
            ],
        }
        for collection in protocol.COLLECTIONS.values()
    ]
    provider = provider or protocol.DEFAULT_PROVIDER
    api = {"version": protocol.VERSION, "driver": protocol.DRIVER, "provider": provider}
    return {"api": {**api, "links": links}}


def _driver(driver: Driver) -> dict[str, Any]:
    return {"name": driver.name, "entrypoints": {driver.id: dict(driver.providers)}}


def _doc(urls: Urls, collection: protocol.Collection) -> dict[str, Any]:
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


_MEMBERS: dict[str, Callable[[Urls, Any], dict[str, Any]]] = {
    "driver": lambda _, driver: {"id": driver.id, **_driver(driver)},
    "realm": _realm,
    "storage_volume": _volume,
}
_DOCUMENTS: dict[str, Callable[[Urls, Any], dict[str, Any]]] = {
    "doc": lambda urls, collection: {"docs": _doc(urls, collection)},
    "docs": lambda urls, docs: {"docs": [_summary(urls, each) for each in docs]},
    "drivers": lambda _, drivers: {driver.id: _driver(driver) for driver in drivers},
    "entry_point": _entry_point,
    "error": lambda _, error: {"code": error.status, "message": error.message, "error": error.code},
}
