"""EC2 records to Deltacloud models, and EC2 errors to errors of the API."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import Driver, Realm, StorageSnapshot, StorageVolume
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Snapshot, Volume, Zone

_UNKNOWN_VOLUME = "vol-ffffffff"
"""Stands for the volume of copied and foreign snapshots (EC2 API reference, Snapshot)."""

_STATUS_OF_CODES = {
    400: "MissingParameter",
    401: "AuthFailure ExpiredToken IncompleteSignature InvalidAccessKeyId InvalidClientTokenId "
    "MissingAuthenticationToken RequestExpired SignatureDoesNotMatch",
    403: "AccessDenied Blocked OptInRequired PendingVerification UnauthorizedOperation",
    409: "IncorrectState",
    502: "InternalError InternalFailure ServiceUnavailable Unavailable",
}
STATUS_OF_CODE = {
    code: status for status, codes in _STATUS_OF_CODES.items() for code in codes.split()
}
"""HTTP status of an EC2 error code (EC2 API reference, "Error codes").

Deltacloud's Ruby client recognises errors by the statuses 400 to 409, 500, 501 and 502 only. So
throttling and outages are 502, never 429, 503 or 504.
"""

STATUS_OF_CODE_SUFFIX = {".NotFound": 404, ".Malformed": 400, ".InUse": 409, "LimitExceeded": 409}
"""HTTP status of a family of EC2 error codes, by their suffix."""

_STATUSES_KEPT = frozenset({400, 401, 403, 404, 409})
"""HTTP statuses of EC2 that are passed on when the tables do not know the code."""

# Not strftime: its names depend on the locale.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def created(time: str) -> str:
    """Write a time as ``<created>`` has it, such as ``Thu Jul 28 21:54:19 UTC 2011``.

    ``time`` is ISO 8601 in UTC, such as 2011-07-28T21:54:19.000Z, or empty.
    """
    if not time:
        return ""
    before, after = _around_clock_time(time[:10])
    return f"{before}{time[11:19]}{after}"


@lru_cache(maxsize=10_000)
def _around_clock_time(day: str) -> tuple[str, str]:
    when = date.fromisoformat(day)
    weekday, month = _WEEKDAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{weekday} {month} {when.day:02} ", f" UTC {when.year:04}"


def storage_snapshots(snapshots: Iterable[Snapshot]) -> list[StorageSnapshot]:
    """Translate a page of snapshots. Without a Name tag, the id is the name."""
    # _make takes three quarters of the time of a call with each field.
    return [
        StorageSnapshot._make(
            (
                id,
                name or id,
                description,
                created(start_time),
                start_time,
                status,
                volume_id,
                volume_id not in {"", _UNKNOWN_VOLUME},
            )
        )
        for id, volume_id, start_time, status, description, name in snapshots
    ]


def storage_volumes(volumes: Iterable[Volume]) -> list[StorageVolume]:
    """Translate a page of volumes. Without a Name tag, the id is the name."""
    return [
        StorageVolume(
            id=volume.id,
            name=volume.name or volume.id,
            created=created(volume.create_time),
            created_iso=volume.create_time,
            state=volume.status.upper(),
            capacity=int(volume.size) if volume.size else None,
            realm_id=volume.zone,
            instance_id=volume.instance_id,
            device=volume.device,
        )
        for volume in volumes
    ]


def realms(zones: Iterable[Zone]) -> list[Realm]:
    """Translate availability zones. A zone that is not available has the limit 0."""
    return [
        Realm(zone.name, zone.state, None if zone.state == "available" else 0) for zone in zones
    ]


def drivers(hosts: Mapping[str, str]) -> Sequence[Driver]:
    """List the drivers; ``hosts`` maps the regions of EC2 to the hosts of their endpoints."""
    return [Driver(protocol.DRIVER, protocol.DRIVER_NAME, hosts)]


def api_error(error: Exception) -> ApiError:
    """Translate any exception. An unexpected one becomes a 500 with it as the cause."""
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, EC2Error):
        fault = ApiError(500, "Internal error of the server. It has been logged.")
        fault.__cause__ = error
        return fault
    code = error.code or ("Throttling" if error.outcome is Outcome.THROTTLED else "")
    translated = ApiError(
        _status(error),
        f"{code}: {error.message}" if code else error.message,
        code=code,
        parameter="volume_id" if code.startswith("InvalidVolume") else "",
    )
    translated.__cause__ = error
    return translated


def _status(error: EC2Error) -> int:
    if error.outcome is Outcome.THROTTLED or not error.http_status:
        return 502
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    for suffix, status in STATUS_OF_CODE_SUFFIX.items():
        if error.code.endswith(suffix):
            return status
    if error.http_status in _STATUSES_KEPT:
        return error.http_status
    return 400 if 400 <= error.http_status < 500 else 502


def is_not_found(error: Exception) -> bool:
    """Tell whether the client is told that something does not exist."""
    return api_error(error).status == 404
