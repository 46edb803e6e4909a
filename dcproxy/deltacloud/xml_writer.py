"""Deltacloud documents in XML, as the API page shows them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import escape

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

_DECLARATION = "<?xml version='1.0' encoding='utf-8' ?>\n"

_SPECIAL = re.compile("[&<>\r]")

# Characters that XML 1.0 cannot hold, not even as character references.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LINE_ENDS = str.maketrans({"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def headers() -> Mapping[str, str]:
    """Return the headers of a response in this format."""
    return {"Content-Type": "application/xml"}


def entry_point(provider: str | None, urls: Urls) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    of_provider = f" provider='{escape(provider)}'" if provider else ""
    root = f"<api driver='{protocol.DRIVER}' version='{protocol.VERSION}'{of_provider}>"
    links = ""
    for name, collection in protocol.COLLECTIONS.items():
        features = "".join(
            f"    <feature name='{feature.name}' rel='{feature.operation}'>"
            f"<param name='{feature.parameter}'/></feature>\n"
            for feature in collection.features
        )
        href = escape(urls.collection(name))
        links += f"  <link rel='{name}' href='{href}'>\n{features}  </link>\n"
    return f"{_DECLARATION}{root}\n{links}</api>\n"


def collection(name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
    """Write the list of a collection."""
    write = _WRITERS[name](urls, "  ")

    def text(page: Sequence[Model]) -> str:
        return "".join(map(write, page))

    yield f"{_DECLARATION}<{name}>\n"
    # Not a loop: its page would stay in memory while a slow client reads the text.
    yield from map(text, pages)
    yield f"</{name}>\n"


def member(collection: str, model: Model, urls: Urls) -> str:
    """Write one member of a collection."""
    return _DECLARATION + _WRITERS[collection](urls, "")(model)


def _snapshot_writer(urls: Urls, indent: str) -> Callable[[StorageSnapshot], str]:
    snapshots_url = str(escape(urls.collection("storage_snapshots")))
    volumes_url = str(escape(urls.collection("storage_volumes")))
    return partial(_snapshot, snapshots_url, volumes_url, indent)


def _snapshot(snapshots_url: str, volumes_url: str, indent: str, snapshot: StorageSnapshot) -> str:
    id, name, description, created, _, state, volume_id, _, _ = snapshot
    id_in_url, volume_in_url = id, volume_id
    if not is_plain(f"{id}{volume_id}{state}"):  # few, and one check takes a third of three
        id_in_url, volume_in_url = segment(id), segment(volume_id)
        id, volume_id, state = _attribute(id), _attribute(volume_id), _text(state)
    described = (
        f"{indent}  <description>{_text(description)}</description>\n" if description else ""
    )
    timestamp = f"{indent}  <created>{created}</created>\n" if created else ""
    volume = (
        f"{indent}  <storage_volume href='{volumes_url}/{volume_in_url}' id='{volume_id}'>"
        "</storage_volume>\n"
        if volume_id
        else ""
    )
    return (
        f"{indent}<storage_snapshot href='{snapshots_url}/{id_in_url}' id='{id}'>\n"
        f"{indent}  <name>{_text(name)}</name>\n"
        f"{described}{timestamp}{indent}  <state>{state}</state>\n"
        f"{volume}{indent}</storage_snapshot>\n"
    )


def _text(text: str) -> str:
    if not _SPECIAL.search(text):
        return text  # most texts, in a sixth of the time
    # A parser reads a literal carriage return as a line feed (XML 1.0, 2.11).
    return str(escape(text)).replace("\r", "&#13;")


def _volume(urls: Urls, volume: StorageVolume) -> str:
    href = _href(urls, "storage_volumes", volume.id)
    capacity = f"  <capacity unit='GB'>{volume.capacity}</capacity>\n"
    zone = volume.realm_id
    realm = f"  <realm href='{_href(urls, 'realms', zone)}' id='{_attribute(zone)}'></realm>\n"
    device = mount = ""
    for instance_id, name in volume.mounts[:1]:
        # The Ruby gem 1.1.3 reads the first descendant "device", which is empty in the mount.
        device = f"  <device>{_text(name)}</device>\n"
        mount = (
            f"  <mount><instance id='{_attribute(instance_id)}'/>"
            f"<device name='{_attribute(name)}'/></mount>\n"
        )
    actions = "".join(
        f"    <link rel='{action.rel}' method='{action.method}' href='{href}{action.path}'/>\n"
        for action in volume.actions
    )
    # The Ruby gem 0.3.0 shows no state without the element actions, even an empty one.
    return (
        f"<storage_volume href='{href}' id='{_attribute(volume.id)}'>\n"
        f"{_element('created', volume.created)}{capacity if volume.capacity is not None else ''}"
        f"{_element('name', volume.name)}{_element('description', volume.description)}"
        f"{device}{realm if zone else ''}{_element('realm_id', zone)}"
        f"  <state>{_text(volume.state)}</state>\n"
        f"{mount}  <actions>\n{actions}  </actions>\n</storage_volume>\n"
    )


def _element(name: str, text: str) -> str:
    return f"  <{name}>{_text(text)}</{name}>\n" if text else ""


def _realm(urls: Urls, realm: Realm) -> str:
    limit = "" if realm.limit is None else f"  <limit>{realm.limit}</limit>\n"
    return (
        f"<realm href='{_href(urls, 'realms', realm.id)}' id='{_attribute(realm.id)}'>\n"
        f"  <name>{_text(realm.id)}</name>\n  <state>{_text(realm.state)}</state>\n"
        f"{limit}</realm>\n"
    )


def _driver(urls: Urls, driver: Driver) -> str:
    providers = "".join(
        f"  <provider id='{provider}'>"
        f"<entrypoint kind='{driver.id}'>{escape(host)}</entrypoint></provider>\n"
        for provider, host in driver.providers.items()
    )
    return _driver_element(urls, driver, providers)


def _driver_element(urls: Urls, driver: Driver, providers: str) -> str:
    return (
        f"<driver href='{_href(urls, 'drivers', driver.id)}' id='{driver.id}'>\n"
        f"  <name>{driver.name}</name>\n{providers}</driver>\n"
    )


def _collection_docs(urls: Urls, collection: protocol.Collection) -> str:
    href = escape(urls.collection(collection.name))
    operations = ""
    for operation in collection.operations:
        parameters = "".join(
            f"        <parameter name='{name}' type='{type}'><class>string</class></parameter>\n"
            for name, type in operation.parameters
        )
        operations += (
            f"      <operation name='{operation.name}' method='{operation.method}' href='{href}'>\n"
            f"        <description>{operation.description}</description>\n"
            f"{parameters}      </operation>\n"
        )
    return (
        "<docs status='supported'>\n"
        f"  <collection url='{_href(urls, 'docs', collection.name)}' name='{collection.name}'>\n"
        f"    <description>{collection.description}</description>\n"
        f"    <operations>\n{operations}    </operations>\n  </collection>\n</docs>\n"
    )


_WRITERS: dict[str, Callable[[Urls, str], Callable[[Any], str]]] = {
    "docs": lambda urls, indent: partial(_collection_docs, urls),
    "drivers": lambda urls, indent: partial(_driver, urls),
    "realms": lambda urls, indent: partial(_realm, urls),
    "storage_snapshots": _snapshot_writer,
    "storage_volumes": lambda urls, indent: partial(_volume, urls),
}
"""For each collection, what makes the function that writes a member with some indentation."""


def drivers(drivers: Sequence[Driver], urls: Urls) -> str:
    """Write the list of drivers."""
    members = ""
    for driver in drivers:
        providers = "".join(f"  <provider id='{id}'/>\n" for id in driver.providers)
        members += _driver_element(urls, driver, providers)
    return f"{_DECLARATION}<drivers>\n{members}</drivers>\n"


def docs(urls: Urls) -> str:
    """Write the list of documented collections."""
    collections = "".join(
        f"  <collection url='{_href(urls, 'docs', name)}'>\n    <name>{name}</name>\n"
        f"    <description>{collection.description}</description>\n  </collection>\n"
        for name, collection in protocol.COLLECTIONS.items()
    )
    return f"{_DECLARATION}<docs status='supported'>\n{collections}</docs>\n"


def _href(urls: Urls, collection: str, id: str) -> str:
    return str(escape(urls.member(collection, id)))


def error(error: ErrorDocument, urls: Urls | None) -> str:
    """Write an error, without a declaration: libdeltacloud expects ``<error`` first."""
    parameters = "".join(
        f"    <param name='{_attribute(name)}'>{_cdata(value)}</param>\n"
        for name, value in error.parameters.items()
    )
    provider = _attribute(error.provider or protocol.DEFAULT_PROVIDER)
    return (
        f"<error status='{error.status}' url='{_attribute(error.url)}'>\n"
        f"  <backend driver='{protocol.DRIVER}' provider='{provider}'></backend>\n"
        f"  <code>{error.status}</code>\n"
        f"  <message>{_cdata(error.message)}</message>\n"
        f"  <request>\n{parameters}  </request>\n"
        "</error>\n"
    )


def _attribute(text: str) -> str:
    # A parser reads literal tabs and line ends in attributes as spaces (XML 1.0, 3.3.3).
    return str(escape(_NO_CHARACTER.sub("\ufffd", text))).translate(_LINE_ENDS)


def _cdata(text: str) -> str:
    inner = _NO_CHARACTER.sub("\ufffd", text).replace("]]>", "]]]]><![CDATA[>")
    return f"<![CDATA[{inner}]]>"
