"""Native EC2 XML to records.

The shapes are those of the EC2 API reference. Other elements are ignored; an absent element is an
empty field.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import lru_cache

from lxml import etree

from dcproxy.ec2.records import Page, Snapshot, TaggedSnapshot, Volume, Zone


class UnreadableError(Exception):
    """A response of EC2 differs from its API reference; the message says how."""


def _tag(key: str) -> str:
    return f"e:tagSet[1]/e:item[e:key='{key}'][1]/e:value[1]"


# One XPath per field of the record, in the order of its fields; "e" is the namespace of EC2. [1]
# lets libxml2 stop at the first match.
_SNAPSHOT_ITEMS = "/*/e:snapshotSet/e:item"
_SNAPSHOT = (
    "e:snapshotId[1]",
    "e:volumeId[1]",
    "e:startTime[1]",
    "e:status[1]",
    "e:description[1]",
    _tag("Name"),
)
_VOLUME = (
    "e:volumeId[1]",
    "e:availabilityZone[1]",
    "e:createTime[1]",
    "e:status[1]",
    "e:size[1]",
    _tag("Name"),
    "e:attachmentSet[1]/e:item[1]/e:instanceId[1]",
    "e:attachmentSet[1]/e:item[1]/e:device[1]",
)
_ZONE = ("e:zoneName[1]", "e:zoneState[1]")

_NAMESPACE = re.compile(r"http://ec2\.amazonaws\.com/doc/[0-9]{4}-[0-9]{2}-[0-9]{2}/?")
_NAME = re.compile(r"[0-9A-Za-z-]+")
_NUMBER = re.compile(r"[0-9]+")
_WORD = re.compile(r"[a-z-]*")
_TIMES = re.compile(
    r"(?:(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](?:\.[0-9]+)?Z)?\0)*+"
)


def snapshots(response: bytes) -> Page[Snapshot]:
    """Read a DescribeSnapshotsResponse. Raises ``UnreadableError``."""
    root = _root(response, "DescribeSnapshotsResponse")
    records = _snapshots(root, _SNAPSHOT_ITEMS)
    return Page(records, root.findtext("{*}nextToken", ""))


def volumes(response: bytes) -> Page[Volume]:
    """Read a DescribeVolumesResponse. Raises ``UnreadableError``."""
    root = _root(response, "DescribeVolumesResponse")
    records = list(map(Volume._make, _rows(root, "/*/e:volumeSet/e:item", _VOLUME)))
    for volume in records:
        _check_ids([volume.id, *filter(None, [volume.instance_id])])
        _check(_NAME, [volume.zone], "an availability zone")
        _check(_NUMBER, [volume.size], "a size")
        _check(_WORD, [volume.status], "a status")
        _check_times([volume.create_time])
    return Page(records, root.findtext("{*}nextToken", ""))


def zones(response: bytes) -> Page[Zone]:
    """Read a DescribeAvailabilityZonesResponse, which has one page. Raises ``UnreadableError``."""
    root = _root(response, "DescribeAvailabilityZonesResponse")
    records = list(map(Zone._make, _rows(root, "/*/e:availabilityZoneInfo/e:item", _ZONE)))
    for zone in records:
        _check(_NAME, [zone.name], "an availability zone")
        _check(_WORD, [zone.state], "a state")
    return Page(records, "")


def tagged_snapshots(response: bytes, keys: tuple[str, ...]) -> Page[TaggedSnapshot]:
    """Read a DescribeSnapshotsResponse with the tags ``keys``. Raises ``UnreadableError``."""
    root = _root(response, "DescribeSnapshotsResponse")
    tags = _rows(root, _SNAPSHOT_ITEMS, tuple(map(_tag, keys)))
    records = list(map(TaggedSnapshot, _snapshots(root, _SNAPSHOT_ITEMS), tags))
    return Page(records, root.findtext("{*}nextToken", ""))


def created_snapshot(response: bytes) -> Snapshot:
    """Read a CreateSnapshotResponse. Raises ``UnreadableError``."""
    [snapshot] = _snapshots(_root(response, "CreateSnapshotResponse"), "/*")
    return snapshot


def deleted(response: bytes) -> None:
    """Read a DeleteSnapshotResponse. Raises ``UnreadableError``, also for ``false``."""
    if _root(response, "DeleteSnapshotResponse").findtext("{*}return", "true") != "true":
        raise UnreadableError("the snapshot was not deleted")


def _snapshots(root: etree._Element, items: str) -> list[Snapshot]:
    records = list(map(Snapshot._make, _rows(root, items, _SNAPSHOT)))
    if records:
        ids, volume_ids, start_times, statuses, _, _ = zip(*records, strict=True)
        _check_ids(ids)
        _check_ids(filter(None, volume_ids))
        _check(_WORD, set(statuses), "a status")
        _check_times(start_times)
    return records


def _root(response: bytes, name: str) -> etree._Element:
    # A new parser costs half a microsecond; threads would wait for a shared one.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True
    )
    try:
        root = etree.fromstring(response, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"not well-formed XML: {error.msg}") from error
    tag = etree.QName(root)
    if tag.localname != name or not _NAMESPACE.fullmatch(tag.namespace or ""):
        raise UnreadableError(f"not a {name} of EC2")
    if root.getroottree().docinfo.doctype:
        raise UnreadableError("it declares a document type")
    return root


# One pass of libxslt over the page takes a fifth of the time that an XPath per field takes. Its
# output is split at a character that Unicode reserves for internal use.
_SEPARATOR = "\ufdd0"


def _rows(root: etree._Element, items: str, fields: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    namespace = etree.QName(root).namespace or ""
    texts = str(_table(namespace, items, fields)(root)).split(_SEPARATOR)
    rows = int(_count(namespace, items)(root))
    if len(texts) != rows * len(fields) + 1:
        # A text contains the separator.
        return _rows_one_by_one(root, items, fields)
    return zip(*[iter(texts)] * len(fields), strict=False)


def _rows_one_by_one(
    root: etree._Element, items: str, fields: tuple[str, ...]
) -> Iterable[tuple[str, ...]]:
    namespaces = {"e": etree.QName(root).namespace or ""}
    readers = [etree.XPath(f"string({field})", namespaces=namespaces) for field in fields]
    for item in etree.XPath(items, namespaces=namespaces)(root):
        yield tuple(str(reader(item)) for reader in readers)


@lru_cache(maxsize=32)
def _table(namespace: str, items: str, fields: tuple[str, ...]) -> etree.XSLT:
    values = "".join(
        f'<xsl:value-of select="{field}"/><xsl:text>{_SEPARATOR}</xsl:text>' for field in fields
    )
    stylesheet = f"""
        <xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                        xmlns:e="{namespace}">
          <xsl:output method="text" encoding="UTF-8"/>
          <xsl:template match="/"><xsl:for-each select="{items}">{values}</xsl:for-each>
          </xsl:template>
        </xsl:stylesheet>"""
    return etree.XSLT(etree.XML(stylesheet), access_control=etree.XSLTAccessControl.DENY_ALL)


@lru_cache(maxsize=32)
def _count(namespace: str, items: str) -> Callable[[etree._Element], float]:
    return etree.XPath(f"count({items})", namespaces={"e": namespace})


def _check(pattern: re.Pattern[str], texts: Iterable[str], what: str) -> None:
    if not all(map(pattern.fullmatch, texts)):
        raise UnreadableError(f"{what} is missing or malformed")


def _check_ids(ids: Iterable[str]) -> None:
    # Ids are written into URLs and attributes without escaping. One check of all ids takes a fifth
    # of the time of one check per id.
    ids = list(ids)
    together = "".join(ids).replace("-", "0") or "0"
    if not all(ids) or not (together.isascii() and together.isalnum()):
        raise UnreadableError("an id is missing or malformed")


def _check_times(times: Sequence[str]) -> None:
    # One check of all times takes half of the time of one check per time.
    if not _TIMES.fullmatch("\0".join([*times, ""])):
        raise UnreadableError("a time is malformed")
    for day in {time[:10] for time in times} - {""}:
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise UnreadableError(f"{day} is not a date") from error
