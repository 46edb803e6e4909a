"""Deltacloud documents in XML: the seed of the API's own documentation, element by element."""

import re
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import escape

from dcproxy import deltacloud
from dcproxy.documents.report import ErrorReport
from dcproxy.native import Snapshot
from dcproxy.routes import Urls

_DECLARATION = "<?xml version='1.0' encoding='utf-8' ?>\n"

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
    yield f"{_DECLARATION}<storage_snapshots>\n"
    snapshots_url, volumes_url = _snapshot_hrefs(urls)
    for page in pages:
        yield "".join([_snapshot(snapshot, snapshots_url, volumes_url, "  ") for snapshot in page])
    yield "</storage_snapshots>\n"


def storage_snapshot(snapshot: Snapshot, urls: Urls) -> str:
    """Write one snapshot."""
    return _DECLARATION + _snapshot(snapshot, *_snapshot_hrefs(urls), "")


def _snapshot_hrefs(urls: Urls) -> tuple[str, str]:
    return (
        str(escape(urls.collection("storage_snapshots"))),
        str(escape(urls.collection("storage_volumes"))),
    )


def _snapshot(snapshot: Snapshot, snapshots_url: str, volumes_url: str, indent: str) -> str:
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
        f"{described}{created}"
        f"{indent}  <state>{status}</state>\n"
        f"{volume}"
        f"{indent}</storage_snapshot>\n"
    )


def _text(text: str) -> str:
    # A bare carriage return would reach the reader as a line feed (XML 1.0, 2.11).
    return str(escape(text)).replace("\r", "&#13;")


def error(report: ErrorReport) -> str:
    """Write an error."""
    parameters = "".join(
        f"    <param name='{_attribute(name)}'>{_cdata(value)}</param>\n"
        for name, value in report.parameters.items()
    )
    return (
        f"{_DECLARATION}<error status='{report.status}' url='{_attribute(report.url)}'>\n"
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
