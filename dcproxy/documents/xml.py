"""Deltacloud documents in XML: the seed of the API's own documentation, element by element."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from markupsafe import escape

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot, Volume, Zone
from dcproxy.routes import Urls

R = TypeVar("R")

_DECLARATION = "<?xml version='1.0' encoding='utf-8' ?>\n"

_SPECIAL = re.compile("[&<>\r]")

# What XML 1.0 cannot hold, not even as a character reference.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def entry_point(urls: Urls, provider: str | None) -> str:
    """Write the entry point; ``provider`` is the one that the request named."""
    of_provider = f" provider='{escape(provider)}'" if provider else ""
    links = "".join(
        f"  <link rel='{name}' href='{escape(urls.collection(name))}'>\n"
        + "".join(_feature(feature) for feature in features)
        + "  </link>\n"
        for name, features in deltacloud.COLLECTIONS.items()
    )
    return (
        f"{_DECLARATION}<api driver='{deltacloud.DRIVER}' version='{deltacloud.VERSION}'"
        f"{of_provider}>\n{links}</api>\n"
    )


def _feature(feature: deltacloud.Feature) -> str:
    return (
        f"    <feature name='{feature.name}' rel='{feature.operation}'>"
        f"<param name='{feature.parameter}'/></feature>\n"
    )


def storage_snapshots(pages: Iterable[Sequence[Snapshot]], urls: Urls) -> Iterator[str]:
    """Write a list of snapshots."""
    write = partial(_snapshot, *_snapshot_hrefs(urls), "  ")
    return _list("storage_snapshots", pages, write)


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _DECLARATION + _snapshot(*_snapshot_hrefs(urls), "", snapshot)


def _snapshot_hrefs(urls: Urls) -> tuple[str, str]:
    return (
        str(escape(urls.collection("storage_snapshots"))),
        str(escape(urls.collection("storage_volumes"))),
    )


def _snapshot(snapshots_url: str, volumes_url: str, indent: str, snapshot: Snapshot) -> str:
    # The native reader lets only plain ids, states and times through.
    id, volume_id, start_time, status, description, name = snapshot
    described = (
        f"{indent}  <description>{_text(description)}</description>\n" if description else ""
    )
    created = (
        f"{indent}  <created>{deltacloud.created(start_time)}</created>\n" if start_time else ""
    )
    volume = (
        f"{indent}  <storage_volume href='{volumes_url}/{volume_id}' id='{volume_id}'>"
        "</storage_volume>\n"
        if volume_id
        else ""
    )
    return (
        f"{indent}<storage_snapshot href='{snapshots_url}/{id}' id='{id}'>\n"
        f"{indent}  <name>{_text(name) if name else id}</name>\n"
        f"{described}{created}{indent}  <state>{status}</state>\n"
        f"{volume}{indent}</storage_snapshot>\n"
    )


def _text(text: str) -> str:
    if not _SPECIAL.search(text):
        return text  # most texts: a sixth of the time
    # A bare carriage return would reach the reader as a line feed (XML 1.0, 2.11).
    return str(escape(text)).replace("\r", "&#13;")


def storage_volumes(pages: Iterable[Sequence[Volume]], urls: Urls) -> Iterator[str]:
    """Write a list of volumes."""
    return _list("storage_volumes", pages, lambda volume: _volume(volume, urls))


def storage_volume(volume: Volume, urls: Urls) -> str:
    """Write one volume."""
    return _DECLARATION + _volume(volume, urls)


def _volume(volume: Volume, urls: Urls) -> str:
    created = deltacloud.created(volume.create_time) if volume.create_time else ""
    mount = (
        f"  <mount><instance id='{volume.instance_id}'/>"
        f"<device name='{_attribute(volume.device)}'/></mount>\n"
        if volume.instance_id
        else ""
    )
    return (
        f"<storage_volume href='{_href(urls, 'storage_volumes', volume.id)}' id='{volume.id}'>\n"
        f"  <created>{created}</created>\n"
        f"  <capacity unit='GB'>{volume.size}</capacity>\n"
        f"  <name>{_text(volume.name or volume.id)}</name>\n"
        f"  <realm href='{_href(urls, 'realms', volume.zone)}' id='{volume.zone}'></realm>\n"
        f"  <realm_id>{volume.zone}</realm_id>\n"
        f"  <state>{volume.status.upper()}</state>\n"
        f"{mount}</storage_volume>\n"
    )


def realms(pages: Iterable[Sequence[Zone]], urls: Urls) -> Iterator[str]:
    """Write a list of realms."""
    return _list("realms", pages, lambda zone: _realm(zone, urls))


def realm(zone: Zone, urls: Urls) -> str:
    """Write one realm."""
    return _DECLARATION + _realm(zone, urls)


def _realm(zone: Zone, urls: Urls) -> str:
    limit = "" if zone.state == "available" else "  <limit>0</limit>\n"
    return (
        f"<realm href='{_href(urls, 'realms', zone.name)}' id='{zone.name}'>\n"
        f"  <name>{zone.name}</name>\n  <state>{zone.state}</state>\n{limit}</realm>\n"
    )


def _list(name: str, pages: Iterable[Sequence[R]], write: Callable[[R], str]) -> Iterator[str]:
    yield f"{_DECLARATION}<{name}>\n"
    for page in pages:
        yield "".join(map(write, page))
    yield f"</{name}>\n"


def drivers(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the list of drivers; ``hosts`` are the providers, none when there is no driver."""
    providers = "".join(f"  <provider id='{provider}'/>\n" for provider in hosts)
    return f"{_DECLARATION}<drivers>\n{_driver(providers, urls) if hosts else ''}</drivers>\n"


def driver(hosts: Mapping[str, str], urls: Urls) -> str:
    """Write the one driver; ``hosts`` are its providers with the host of EC2 in each."""
    providers = "".join(
        f"  <provider id='{provider}'>"
        f"<entrypoint kind='{deltacloud.DRIVER}'>{escape(host)}</entrypoint></provider>\n"
        for provider, host in hosts.items()
    )
    return _DECLARATION + _driver(providers, urls)


def _driver(providers: str, urls: Urls) -> str:
    id = deltacloud.DRIVER
    return (
        f"<driver href='{_href(urls, 'drivers', id)}' id='{id}'>\n"
        f"  <name>{deltacloud.DRIVER_NAME}</name>\n{providers}</driver>\n"
    )


def _href(urls: Urls, collection: str, id: str) -> str:
    return str(escape(urls.member(collection, id)))


def error(report: ErrorReport) -> str:
    """Write an error; without a declaration, since libdeltacloud knows it by its first bytes."""
    parameters = "".join(
        f"    <param name='{_attribute(name)}'>{_cdata(value)}</param>\n"
        for name, value in report.parameters.items()
    )
    return (
        f"<error status='{report.status}' url='{_attribute(report.url)}'>\n"
        f"  <backend driver='{deltacloud.DRIVER}' provider='{_attribute(report.provider)}'>"
        "</backend>\n"
        f"  <code>{report.status}</code>\n"
        f"  <message>{_cdata(report.message)}</message>\n"
        f"  <request>\n{parameters}  </request>\n"
        "</error>\n"
    )


def _attribute(text: str) -> str:
    return str(escape(_NO_CHARACTER.sub("\ufffd", text)))


def _cdata(text: str) -> str:
    inner = _NO_CHARACTER.sub("\ufffd", text).replace("]]>", "]]]]><![CDATA[>")
    return f"<![CDATA[{inner}]]>"
