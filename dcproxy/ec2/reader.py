"""Native EC2 XML to records.

The shapes are those of the EC2 API reference, as botocore reads them: of any version, in any
namespace. Other elements are ignored; an absent or unreadable element is an empty field.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from botocore.utils import parse_timestamp
from lxml import etree

from dcproxy.ec2.records import (
    Attachment,
    DetailedSnapshot,
    Page,
    Snapshot,
    TaggedSnapshot,
    Volume,
    Zone,
)


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
_DETAILED_SNAPSHOT = (
    *_SNAPSHOT,
    "e:progress[1]",
    "e:volumeSize[1]",
    "e:ownerId[1]",
    "e:encrypted[1]",
)
_VOLUME = (
    "e:volumeId[1]",
    "e:availabilityZone[1]",
    "e:createTime[1]",
    "e:status[1]",
    "e:size[1]",
    _tag("Name"),
    _tag("Description"),
    "count(e:attachmentSet/e:item)",
)
_VOLUME_ITEMS = "/*/e:volumeSet/e:item"
_ATTACHMENT = ("e:instanceId[1]", "e:device[1]", "e:status[1]")
_TAG = ("e:key[1]", "e:value[1]")
_ZONE = ("e:zoneName[1]", "e:zoneState[1]", "e:zoneType[1]")

AnySnapshot = TypeVar("AnySnapshot", Snapshot, DetailedSnapshot)

_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_NAMESPACES = {"e": _NAMESPACE}
_SIZE = re.compile(r"[0-9]{1,18}")
_NOT_XML = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])"
    rb"|x0*(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef]));",
    re.IGNORECASE,
)
"""Characters that XML 1.0 cannot hold, in UTF-8 and as references: texts of users that EC2 does not
check."""
_MAX_TIME_CHARACTERS = 100
_TIMES = re.compile(
    r"(?:(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]+)?Z)?\0)*+"
)


def snapshots(response: bytes) -> Page[Snapshot]:
    """Read a DescribeSnapshotsResponse. Raises ``UnreadableError``."""
    root = _root(response, "DescribeSnapshotsResponse")
    records = _snapshots(root, _SNAPSHOT_ITEMS)
    return Page(records, root.findtext("{*}nextToken", ""))


def detailed_snapshots(response: bytes) -> Page[DetailedSnapshot]:
    """Read a DescribeSnapshotsResponse with more of each snapshot. Raises ``UnreadableError``."""
    root = _root(response, "DescribeSnapshotsResponse")
    rows = _rows(root, _SNAPSHOT_ITEMS, _DETAILED_SNAPSHOT)
    records = _with_checks(list(map(DetailedSnapshot._make, rows)))
    return Page(records, root.findtext("{*}nextToken", ""))


def volumes(response: bytes) -> Page[Volume]:
    """Read a DescribeVolumesResponse. Raises ``UnreadableError``."""
    root = _root(response, "DescribeVolumesResponse")
    return Page(_volumes(root, _VOLUME_ITEMS), root.findtext("{*}nextToken", ""))


def created_volume(response: bytes) -> Volume:
    """Read a CreateVolumeResponse. Raises ``UnreadableError``."""
    [volume] = _volumes(_root(response, "CreateVolumeResponse"), "/*")
    return volume


def volume_tags(response: bytes) -> list[tuple[str, ...]]:
    """Read keys and values of the tags of the volume in a DescribeVolumesResponse.

    Raises ``UnreadableError``, also when there is no volume.
    """
    root = _root(response, "DescribeVolumesResponse")
    if not _count(_in_any_namespace(_VOLUME_ITEMS))(root):
        raise UnreadableError("the volume is missing")
    return list(_rows(root, f"{_VOLUME_ITEMS}[1]/e:tagSet/e:item", _TAG))


def attachment(response: bytes, action: str) -> Attachment:
    """Read the response of AttachVolume or DetachVolume. Raises ``UnreadableError``."""
    [fields] = _rows(_root(response, f"{action}Response"), "/*", _ATTACHMENT)
    return Attachment._make(fields)


def _volumes(root: etree._Element, items: str) -> list[Volume]:
    attachments = map(Attachment._make, _rows(root, f"{items}/e:attachmentSet/e:item", _ATTACHMENT))
    rows = list(_rows(root, items, _VOLUME))
    _check_ids("volume", [row[0] for row in rows])
    times = _utc_times([row[2] for row in rows])
    return [
        Volume(
            id=id,
            zone=zone,
            create_time=time,
            status=status,
            size=size if _SIZE.fullmatch(size) else "",
            name=name,
            description=description,
            attachments=tuple(islice(attachments, int(attached))),
        )
        for (id, zone, _, status, size, name, description, attached), time in zip(
            rows, times, strict=True
        )
    ]


def zones(response: bytes) -> Page[Zone]:
    """Read a DescribeAvailabilityZonesResponse, which has one page. Raises ``UnreadableError``."""
    root = zones_response(response)
    records = list(map(Zone._make, _rows(root, "/*/e:availabilityZoneInfo/e:item", _ZONE)))
    _check_ids("zone", [zone.name for zone in records])
    return Page(records, "")


def zones_response(response: bytes) -> etree._Element:
    """Return the root of a DescribeAvailabilityZonesResponse, whatever it holds.

    Raises ``UnreadableError`` for any other document.
    """
    return _root(response, "DescribeAvailabilityZonesResponse")


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


def deleted(response: bytes, action: str) -> None:
    """Read the response of DeleteSnapshot or DeleteVolume.

    Raises ``UnreadableError``, also for ``false``.
    """
    if _root(response, f"{action}Response").findtext("{*}return", "true").lower() != "true":
        raise UnreadableError("nothing was deleted")


def _snapshots(root: etree._Element, items: str) -> list[Snapshot]:
    return _with_checks(list(map(Snapshot._make, _rows(root, items, _SNAPSHOT))))


def _with_checks(records: list[AnySnapshot]) -> list[AnySnapshot]:
    _check_ids("snapshot", [record[0] for record in records])
    given = [record[2] for record in records]
    times = _utc_times(given)
    if times is not given:
        records = [
            record._replace(start_time=time) for record, time in zip(records, times, strict=True)
        ]
    return records


def _root(response: bytes, name: str) -> etree._Element:
    try:
        try:
            root = _parsed(response)
        except etree.XMLSyntaxError:
            root = _parsed(_NOT_XML.sub(b"", response))
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"not well-formed XML: {error.msg}") from error
    if etree.QName(root).localname != name:
        raise UnreadableError(f"not a {name} of EC2")
    if root.getroottree().docinfo.doctype:
        raise UnreadableError("it declares a document type")
    return root


def _parsed(response: bytes) -> etree._Element:
    # A new parser costs half a microsecond; threads would wait for a shared one.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True
    )
    return etree.fromstring(response, parser)


# One pass of libxslt over the page takes a fifth of the time that an XPath per field takes. Its
# output is split at a character that Unicode reserves for internal use.
_SEPARATOR = "\ufdd0"


def _rows(root: etree._Element, items: str, fields: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    if not _is_native(root):
        items, *fields_anywhere = map(_in_any_namespace, (items, *fields))
        fields = tuple(fields_anywhere)
    texts = str(_table(items, fields)(root)).split(_SEPARATOR)
    rows = int(_count(items)(root))
    if len(texts) != rows * len(fields) + 1:
        # A text contains the separator.
        return _rows_one_by_one(root, items, fields)
    return zip(*[iter(texts)] * len(fields), strict=False)


def _is_native(root: etree._Element) -> bool:
    """Tell whether a document is in the namespace of ``_NAMESPACE``, as far as its top shows."""
    top = [root, *root.iterchildren("*")]
    return all(etree.QName(element).namespace == _NAMESPACE for element in top)


def _in_any_namespace(path: str) -> str:
    """Return an XPath that finds the same in any namespace, in twice the time."""
    return re.sub(r"\be:(\w+)", r"*[local-name()='\1']", path)


def _rows_one_by_one(
    root: etree._Element, items: str, fields: tuple[str, ...]
) -> Iterable[tuple[str, ...]]:
    readers = [etree.XPath(f"string({field})", namespaces=_NAMESPACES) for field in fields]
    for item in etree.XPath(items, namespaces=_NAMESPACES)(root):
        yield tuple(str(reader(item)) for reader in readers)


@lru_cache(maxsize=32)
def _table(items: str, fields: tuple[str, ...]) -> etree.XSLT:
    values = "".join(
        f'<xsl:value-of select="{field}"/><xsl:text>{_SEPARATOR}</xsl:text>' for field in fields
    )
    stylesheet = f"""
        <xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                        xmlns:e="{_NAMESPACE}">
          <xsl:output method="text" encoding="UTF-8"/>
          <xsl:template match="/"><xsl:for-each select="{items}">{values}</xsl:for-each>
          </xsl:template>
        </xsl:stylesheet>"""
    return etree.XSLT(etree.XML(stylesheet), access_control=etree.XSLTAccessControl.DENY_ALL)


@lru_cache(maxsize=32)
def _count(items: str) -> Callable[[etree._Element], float]:
    return etree.XPath(f"count({items})", namespaces=_NAMESPACES)


def _check_ids(what: str, ids: Sequence[str]) -> None:
    if not all(ids):
        raise UnreadableError(f"a {what} has no id")


def _utc_times(times: Sequence[str]) -> Sequence[str]:
    """Return ``times`` when they are ISO 8601 in UTC, or else convert them."""
    # One check of all times takes half of the time of one check per time.
    if _TIMES.fullmatch("\0".join([*times, ""])):
        try:
            for day in {time[:10] for time in times} - {""}:
                date.fromisoformat(day)
        except ValueError:
            pass
        else:
            return times
    return list(map(_utc_time, times))


def _utc_time(text: str) -> str:
    """Convert a time in any format that botocore reads. An unreadable one is empty."""
    if len(text) > _MAX_TIME_CHARACTERS:  # it would take seconds
        return ""
    try:
        time = parse_timestamp(text)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError, RuntimeError):
        return ""
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
