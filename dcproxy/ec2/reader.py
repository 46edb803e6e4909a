"""Native EC2 XML to records.

The shapes are those of the EC2 API reference, as botocore reads them: of any version, in any
namespace. Other elements are ignored; an absent or unreadable element is an empty field. All
readers raise ``UnreadableError`` for other documents, and for records without an id.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date
from functools import lru_cache
from itertools import islice, starmap
from secrets import token_hex
from typing import Any

from botocore.utils import parse_timestamp
from lxml import etree

from dcproxy.ec2.records import Attachment, Page, Snapshot, TaggedSnapshot, Volume, Zone


class UnreadableError(Exception):
    """A response of EC2 differs from its API reference; the message says how."""


def _first(*names: str) -> tuple[str, ...]:
    return tuple(f"e:{name}[1]" for name in names)  # [1] lets libxml2 stop at the first match


def _tag(key: str) -> str:
    return f"e:tagSet[1]/e:item[e:key='{key}'][1]/e:value[1]"


# One XPath per field of the record, in the order of its fields; "e" is the namespace of EC2.
_SNAPSHOT_ITEMS = "/*/e:snapshotSet/e:item"
_SNAPSHOT = (*_first("snapshotId", "volumeId", "startTime", "status", "description"), _tag("Name"))
_DETAILS = _first("progress", "volumeSize", "ownerId", "encrypted")
_VOLUME_ITEMS = "/*/e:volumeSet/e:item"
_VOLUME = (
    *_first("volumeId", "availabilityZone", "createTime", "status", "size"),
    _tag("Name"),
    _tag("Description"),
    "count(e:attachmentSet/e:item)",
)
_ATTACHMENT = _first("instanceId", "device", "status")
_TAG = _first("key", "value")
_ZONE = _first("zoneName", "zoneState", "zoneType")

_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
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
    """Read a DescribeSnapshotsResponse."""
    root = _root(response, "DescribeSnapshotsResponse")
    return Page(_snapshots(_rows(root, _SNAPSHOT_ITEMS, _SNAPSHOT)), _next_token(root))


def detailed_snapshots(response: bytes) -> Page[Snapshot]:
    """Read a DescribeSnapshotsResponse with the details of each snapshot."""
    root = _root(response, "DescribeSnapshotsResponse")
    first = len(_SNAPSHOT)
    rows = _rows(root, _SNAPSHOT_ITEMS, _SNAPSHOT + _DETAILS)
    return Page(_snapshots([(*row[:first], row[first:]) for row in rows]), _next_token(root))


def tagged_snapshots(response: bytes, keys: tuple[str, ...]) -> Page[TaggedSnapshot]:
    """Read a DescribeSnapshotsResponse with the tags ``keys``."""
    root = _root(response, "DescribeSnapshotsResponse")
    records = _snapshots(_rows(root, _SNAPSHOT_ITEMS, _SNAPSHOT))
    tags = _rows(root, _SNAPSHOT_ITEMS, tuple(map(_tag, keys)))
    return Page(list(map(TaggedSnapshot, records, tags)), _next_token(root))


def created_snapshot(response: bytes) -> Snapshot:
    """Read a CreateSnapshotResponse."""
    [row] = _rows(_root(response, "CreateSnapshotResponse"), "/*", _SNAPSHOT)
    return _snapshots([row])[0]


def volumes(response: bytes) -> Page[Volume]:
    """Read a DescribeVolumesResponse."""
    root = _root(response, "DescribeVolumesResponse")
    return Page(_volumes(root, _VOLUME_ITEMS), _next_token(root))


def created_volume(response: bytes) -> Volume:
    """Read a CreateVolumeResponse."""
    return _volumes(_root(response, "CreateVolumeResponse"), "/*")[0]


def volume_tags(response: bytes) -> list[tuple[str, ...]]:
    """Read keys and values of the tags of the volume in a DescribeVolumesResponse."""
    root = _root(response, "DescribeVolumesResponse")
    if not _volumes(root, _VOLUME_ITEMS):
        raise UnreadableError("the volume is missing")
    return _rows(root, f"{_VOLUME_ITEMS}[1]/e:tagSet/e:item", _TAG)


def attachment(response: bytes, action: str) -> Attachment:
    """Read the response of AttachVolume or DetachVolume."""
    [fields] = _rows(_root(response, f"{action}Response"), "/*", _ATTACHMENT)
    return Attachment._make(fields)


def zones(response: bytes) -> Page[Zone]:
    """Read a DescribeAvailabilityZonesResponse, which has one page."""
    rows = _rows(zones_response(response), "/*/e:availabilityZoneInfo/e:item", _ZONE)
    return Page(list(map(Zone._make, _with_ids("zone", rows))), "")


def zones_response(response: bytes) -> etree._Element:
    """Return the root of a DescribeAvailabilityZonesResponse, whatever it holds."""
    return _root(response, "DescribeAvailabilityZonesResponse")


def deleted(response: bytes, action: str) -> None:
    """Check that the response of DeleteSnapshot or DeleteVolume says so."""
    if _root(response, f"{action}Response").findtext("{*}return", "true").lower() != "true":
        raise UnreadableError("nothing was deleted")


def _next_token(root: etree._Element) -> str:
    return root.findtext("{*}nextToken", "")


def _snapshots(rows: Sequence[tuple[Any, ...]]) -> list[Snapshot]:
    records = list(starmap(Snapshot, _with_ids("snapshot", rows)))
    given = [row[2] for row in rows]
    times = _utc_times(given)
    if times is given:
        return records
    return [each._replace(start_time=time) for each, time in zip(records, times, strict=True)]


def _volumes(root: etree._Element, items: str) -> list[Volume]:
    attached = iter(_rows(root, f"{items}/e:attachmentSet/e:item", _ATTACHMENT))
    rows = _with_ids("volume", _rows(root, items, _VOLUME))
    times = _utc_times([row[2] for row in rows])
    return [
        Volume(
            *(id, zone, time, status, size if _SIZE.fullmatch(size) else "", name, description),
            attachments=tuple(map(Attachment._make, islice(attached, int(number)))),
        )
        for (id, zone, _, status, size, name, description, number), time in zip(
            rows, times, strict=True
        )
    ]


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
# output is split at a separator that no text can hold on purpose; it begins with a character that
# Unicode reserves for internal use, so that no text before it can be taken for a part of it.
_SEPARATOR = f"\ufdd0{token_hex(4)}"


def _rows(root: etree._Element, items: str, fields: tuple[str, ...]) -> list[tuple[str, ...]]:
    top = [root, *root.iterchildren("*")]
    if any(etree.QName(element).namespace != _NAMESPACE for element in top):
        # Find the same in any namespace, in twice the time.
        items, *anywhere = (
            re.sub(r"\be:(\w+)", r"*[local-name()='\1']", path) for path in (items, *fields)
        )
        fields = tuple(anywhere)
    texts = str(_table(items, fields)(root)).split(_SEPARATOR)
    return list(zip(*[iter(texts)] * len(fields), strict=False))


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


def _with_ids(what: str, rows: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    if not all(row[0] for row in rows):
        raise UnreadableError(f"a {what} has no id")
    return rows


def _utc_times(times: Sequence[str]) -> Sequence[str]:
    """Return ``times`` when they are ISO 8601 in UTC, or else convert them."""
    with suppress(ValueError):
        # One check of all times takes half of the time of one check per time.
        if _TIMES.fullmatch("\0".join([*times, ""])):
            for day in {time[:10] for time in times} - {""}:
                date.fromisoformat(day)
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
