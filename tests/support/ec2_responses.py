"""Responses of EC2, byte for byte as its Query API writes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class EC2Response:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    error_code: str = ""


def xml_response(root: str, inner: str) -> EC2Response:
    """Make a success: ``root`` names the element around ``inner``."""
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">\n'
        f"  <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>\n{inner}\n</{root}>"
    )
    return EC2Response(text.encode())


def error_response(code: str, status: int = 400, message: str = "EC2 says no.") -> EC2Response:
    return EC2Response(
        f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        "</Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>".encode(),
        status,
        error_code=code,
    )


def snapshot_item(
    id: str,
    volume_id: str = "vol-0bc0de60",
    start_time: str = "2011-07-28T21:54:19.000Z",
    status: str = "completed",
    description: str = "",
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    if name is not None:
        tags = {"Name": name, **(tags or {})}
    return (
        f"<item><snapshotId>{id}</snapshotId><volumeId>{volume_id}</volumeId>"
        f"<status>{status}</status><startTime>{start_time}</startTime><progress>100%</progress>"
        f"<ownerId>123456789012</ownerId><volumeSize>8</volumeSize>"
        f"<description>{escape(description)}</description>{_tag_set(tags)}</item>"
    )


def volume_item(
    id: str,
    attachments: Iterable[tuple[str, str, str]] = (),
    zone: str = "us-east-1b",
    status: str = "",
    size: int = 1,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Give a volume; ``attachments`` are triples of instance, device and status."""
    attached = "".join(
        f"<item>{attachment_fields(id, *attachment)}</item>" for attachment in attachments
    )
    status = status or ("in-use" if attached else "available")
    return (
        f"<item><volumeId>{id}</volumeId><size>{size}</size>"
        f"<availabilityZone>{zone}</availabilityZone><status>{status}</status>"
        "<createTime>2026-01-01T00:00:00.000Z</createTime>"
        f"<attachmentSet>{attached}</attachmentSet>{_tag_set(tags)}</item>"
    )


def attachment_fields(volume_id: str, instance_id: str, device: str, status: str) -> str:
    return (
        f"<volumeId>{volume_id}</volumeId><instanceId>{instance_id}</instanceId>"
        f"<device>{device}</device><status>{status}</status>"
    )


def _tag_set(tags: Mapping[str, str] | None) -> str:
    items = "".join(
        f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>"
        for key, value in (tags or {}).items()
    )
    return "" if tags is None else f"<tagSet>{items}</tagSet>"


def tags_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """Read the tags that a create gives to what it makes."""
    return {
        value: parameters[name.removesuffix("Key") + "Value"]
        for name, value in parameters.items()
        if name.startswith("TagSpecification.1.Tag.") and name.endswith(".Key")
    }


def snapshots_page(items: str, next_token: str = "") -> EC2Response:
    token = f"<nextToken>{next_token}</nextToken>" if next_token else ""
    return xml_response("DescribeSnapshotsResponse", f"<snapshotSet>{items}</snapshotSet>{token}")


def volumes_page(items: str, next_token: str = "") -> EC2Response:
    token = f"<nextToken>{next_token}</nextToken>" if next_token else ""
    return xml_response("DescribeVolumesResponse", f"<volumeSet>{items}</volumeSet>{token}")


def created_response(item: str, action: str = "CreateSnapshot") -> EC2Response:
    fields = item.removeprefix("<item>").removesuffix("</item>")
    return xml_response(f"{action}Response", fields)


def deleted_response() -> EC2Response:
    return xml_response("DeleteSnapshotResponse", "<return>true</return>")
