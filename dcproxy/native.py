"""Native EC2 XML to records. Knows nothing of Deltacloud.

The shapes are those of the EC2 API reference. Elements that nobody asks for are passed over; an
element that is missing is an empty field.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from lxml import etree


class UnreadableError(Exception):
    """What EC2 sent is not what it documents; the message says in which way."""


class Snapshot(NamedTuple):
    """An EBS snapshot. ``start_time`` is ISO 8601 in UTC, such as 2011-07-28T21:54:19.000Z."""

    id: str
    volume_id: str
    start_time: str
    status: str
    description: str
    name: str


class TaggedSnapshot(NamedTuple):
    """A snapshot and the values of some of its tags."""

    snapshot: Snapshot
    tags: tuple[str, ...]


class Volume(NamedTuple):
    """An EBS volume. ``size`` is in GiB, ``create_time`` as a snapshot's ``start_time``.

    ``instance_id`` and ``device`` are those of its first attachment.
    """

    id: str
    zone: str
    create_time: str
    status: str
    size: str
    name: str
    instance_id: str
    device: str


class Zone(NamedTuple):
    """An availability zone; ``state`` is ``available`` when it is."""

    name: str
    state: str


Record = TypeVar("Record")


class Page(NamedTuple, Generic[Record]):
    """One page of a list; ``next_token`` asks for the next one and is empty on the last."""

    records: list[Record]
    next_token: str


def _tag(key: str) -> str:
    return f"e:tagSet[1]/e:item[e:key='{key}'][1]/e:value[1]"


# One XPath a field of the record, in the order of its fields; "e" is EC2's namespace. [1] lets
# libxml2 stop at the first.
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
_TIME = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](?:\.[0-9]+)?Z)?"
)


def snapshots(answer: bytes) -> Page[Snapshot]:
    """Read a DescribeSnapshotsResponse. Raises ``UnreadableError``."""
    root = _root(answer, "DescribeSnapshotsResponse")
    records = _snapshots(root, _SNAPSHOT_ITEMS)
    return Page(records, root.findtext("{*}nextToken", ""))


def volumes(answer: bytes) -> Page[Volume]:
    """Read a DescribeVolumesResponse. Raises ``UnreadableError``."""
    root = _root(answer, "DescribeVolumesResponse")
    records = list(map(Volume._make, _rows(root, "/*/e:volumeSet/e:item", _VOLUME)))
    for volume in records:
        _check_ids([volume.id, *filter(None, [volume.instance_id])])
        _check(_NAME, [volume.zone], "an availability zone")
        _check(_NUMBER, [volume.size], "a size")
        _check(_WORD, [volume.status], "a status")
        _check_times([volume.create_time])
    return Page(records, root.findtext("{*}nextToken", ""))


def zones(answer: bytes) -> Page[Zone]:
    """Read a DescribeAvailabilityZonesResponse, which has one page. Raises ``UnreadableError``."""
    root = _root(answer, "DescribeAvailabilityZonesResponse")
    records = list(map(Zone._make, _rows(root, "/*/e:availabilityZoneInfo/e:item", _ZONE)))
    for zone in records:
        _check(_NAME, [zone.name], "an availability zone")
        _check(_WORD, [zone.state], "a state")
    return Page(records, "")


def tagged_snapshots(answer: bytes, keys: tuple[str, ...]) -> Page[TaggedSnapshot]:
    """Read a DescribeSnapshotsResponse with the tags ``keys``. Raises ``UnreadableError``."""
    root = _root(answer, "DescribeSnapshotsResponse")
    tags = _rows(root, _SNAPSHOT_ITEMS, tuple(map(_tag, keys)))
    records = list(map(TaggedSnapshot, _snapshots(root, _SNAPSHOT_ITEMS), tags))
    return Page(records, root.findtext("{*}nextToken", ""))


def created_snapshot(answer: bytes) -> Snapshot:
    """Read a CreateSnapshotResponse. Raises ``UnreadableError``."""
    [snapshot] = _snapshots(_root(answer, "CreateSnapshotResponse"), "/*")
    return snapshot


def deleted(answer: bytes) -> None:
    """Read a DeleteSnapshotResponse. Raises ``UnreadableError``, also when it denies."""
    if _root(answer, "DeleteSnapshotResponse").findtext("{*}return", "true") != "true":
        raise UnreadableError("the deletion is denied")


def _snapshots(root: etree._Element, items: str) -> list[Snapshot]:
    records = list(map(Snapshot._make, _rows(root, items, _SNAPSHOT)))
    if records:
        ids, volume_ids, start_times, statuses, _, _ = zip(*records, strict=True)
        _check_ids(ids)
        _check_ids(filter(None, volume_ids))
        _check(_WORD, set(statuses), "a status")
        _check_times(start_times)
    return records


def _root(answer: bytes, name: str) -> etree._Element:
    # A parser of its own for each answer (half a microsecond): threads would wait for a shared one.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True
    )
    try:
        root = etree.fromstring(answer, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"not well-formed XML: {error.msg}") from None
    tag = etree.QName(root)
    if tag.localname != name or not _NAMESPACE.fullmatch(tag.namespace or ""):
        raise UnreadableError(f"not a {name} of EC2")
    if root.getroottree().docinfo.doctype:
        raise UnreadableError("it declares a document type")
    return root


# Reading each field by itself costs five times as much as libxslt's one walk over the page. What
# comes out of that walk is cut at a character that Unicode reserves for such inner use.
_SEPARATOR = "\ufdd0"


def _rows(root: etree._Element, items: str, fields: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    namespace = etree.QName(root).namespace or ""
    texts = str(_table(namespace, items, fields)(root)).split(_SEPARATOR)
    rows = int(_count(namespace, items)(root))
    if len(texts) != rows * len(fields) + 1:
        # Somebody put the separator itself into a text.
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
    # They go into addresses and attributes as they are. All in one text: a fifth of the time
    # that a pattern takes for each.
    ids = list(ids)
    together = "".join(ids).replace("-", "0") or "0"
    if not all(ids) or not (together.isascii() and together.isalnum()):
        raise UnreadableError("an id is missing or malformed")


def _check_times(times: Iterable[str]) -> None:
    _check(_TIME, times, "a time")
    for day in {time[:10] for time in times} - {""}:
        try:
            date.fromisoformat(day)
        except ValueError:
            raise UnreadableError(f"{day} is not a day") from None


# Compiled before the first request, for the version of the API that boto3 speaks.
_table("http://ec2.amazonaws.com/doc/2016-11-15/", _SNAPSHOT_ITEMS, _SNAPSHOT)
