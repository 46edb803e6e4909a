"""Responses of EC2, byte for byte as its Query API writes them."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class EC2Response:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


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
    )


def snapshot_item(
    id: str,
    volume_id: str = "vol-0bc0de60",
    start_time: str = "2011-07-28T21:54:19.000Z",
    status: str = "completed",
    description: str = "",
    name: str | None = None,
) -> str:
    tags = (
        f"<tagSet><item><key>Name</key><value>{escape(name)}</value></item></tagSet>"
        if name is not None
        else ""
    )
    return (
        f"<item><snapshotId>{id}</snapshotId><volumeId>{volume_id}</volumeId>"
        f"<status>{status}</status><startTime>{start_time}</startTime><progress>100%</progress>"
        f"<ownerId>123456789012</ownerId><volumeSize>8</volumeSize>"
        f"<description>{escape(description)}</description>{tags}</item>"
    )


def snapshots_page(items: str, next_token: str = "") -> EC2Response:
    token = f"<nextToken>{next_token}</nextToken>" if next_token else ""
    return xml_response("DescribeSnapshotsResponse", f"<snapshotSet>{items}</snapshotSet>{token}")


def created_response(item: str) -> EC2Response:
    fields = item.removeprefix("<item>").removesuffix("</item>")
    return xml_response("CreateSnapshotResponse", fields)


def deleted_response() -> EC2Response:
    return xml_response("DeleteSnapshotResponse", "<return>true</return>")
