"""EC2 records to Deltacloud models, and EC2 errors to errors of the API."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.deltacloud.models import (
    UNKNOWN_DETAILS,
    Mount,
    Realm,
    SnapshotDetails,
    StorageSnapshot,
    StorageVolume,
)
from dcproxy.ec2.errors import NOT_FOUND_CODES, EC2Error, Outcome
from dcproxy.ec2.records import Snapshot, Volume, Zone

_UNKNOWN_VOLUME = "vol-ffffffff"
"""Stands for the volume of copied and foreign snapshots (EC2 API reference, Snapshot)."""

_NOT_AUTHENTICATED = {
    *("ExpiredToken", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId"),
    *("MissingAuthenticationToken", "SignatureDoesNotMatch"),
}

_NUMBER = re.compile("[0-9]{1,18}")
_BOOLEANS = {"true": True, "false": False}

_PARAMETERS = {
    "InvalidInstance": "instance_id",
    "InvalidSnapshot": "snapshot_id",
    "InvalidVolume": "volume_id",
    "InvalidZone": "realm_id",
}
"""The parameter at fault, by the beginning of the error code."""

_RETRY_AFTER = {
    "ConcurrentSnapshotLimitExceeded": 60,
    "ConcurrentTagAccess": RETRY_AFTER,
    "IncorrectState": RETRY_AFTER,
    "InsufficientVolumeCapacity": 60,
    "InvalidState": RETRY_AFTER,  # an identical create is in progress
    "PendingSnapshotLimitExceeded": 60,
    "SnapshotCreationPerVolumeRateExceeded": 15,  # it creates one per volume in 15 seconds
}
"""Seconds after which EC2 may accept a refused request (EC2 API reference, "Error codes")."""


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
    weekday, month, *_ = when.ctime().split()  # not strftime: its names depend on the locale
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
                _details(*details) if details else UNKNOWN_DETAILS,
            )
        )
        for id, volume_id, start_time, status, description, name, details in snapshots
    ]


@lru_cache(maxsize=10_000)
def _details(progress: str, size: str, owner_id: str, encrypted: str) -> SnapshotDetails:
    percent = _number(progress.removesuffix("%"))
    return SnapshotDetails(percent, _number(size), owner_id, _BOOLEANS.get(encrypted))


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


_ACTIONS: dict[str, tuple[protocol.Action, ...]] = {
    "creating": (protocol.ATTACH, protocol.DESTROY),
    "available": (protocol.ATTACH, protocol.DESTROY),
    "in-use": (protocol.DETACH,),
    "error": (protocol.DESTROY,),
}
"""The actions that a state of a volume allows. ``creating`` and a detachment end by themselves: the
Ruby gems keep the links of a document, so that it has those of the next state."""


def _actions(volume: Volume) -> tuple[protocol.Action, ...]:
    statuses = {attachment.status for attachment in volume.mounts}
    is_leaving = statuses and statuses <= {"busy", "detaching"}
    return _ACTIONS.get("available" if is_leaving else volume.status, ())


def storage_volumes(volumes: Iterable[Volume]) -> list[StorageVolume]:
    """Translate a page of volumes. Without a Name tag, the id is the name."""
    return [
        StorageVolume(
            id=volume.id,
            name=volume.name or volume.id,
            description=volume.description,
            created=created(volume.create_time),
            created_iso=volume.create_time,
            state=volume.status.upper(),
            capacity=int(volume.size) if volume.size else None,
            realm_id=volume.zone,
            mounts=[Mount(id, device) for id, device, _ in volume.mounts if id],
            actions=_actions(volume),
        )
        for volume in volumes
    ]


def realms(zones: Iterable[Zone]) -> list[Realm]:
    """Translate availability zones. A zone that is not available has the limit 0."""
    return [Realm(name, state, None if state == "available" else 0) for name, state, _ in zones]


def provider_names(hosts: Mapping[str, str]) -> dict[str, str]:
    """Map the names of each provider to it, in lower case: its region and the host of its endpoint.

    ``hosts`` maps regions to hosts. A host that several regions share names none of them.
    """
    shared = {host for host, regions in Counter(hosts.values()).items() if regions > 1}
    names = {host.lower(): region for region, host in hosts.items() if host not in shared}
    return names | {region.lower(): region for region in hosts}


def api_error(error: Exception) -> ApiError:
    """Translate any exception. An unexpected one becomes a 500 with it as the cause."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, EC2Error):
        translated = _of_ec2(error)
    else:
        translated = ApiError(500, "Internal error of the server. It has been logged.")
    translated.__cause__ = error
    return translated


def _of_ec2(error: EC2Error) -> ApiError:
    outcome = error.outcome
    code = error.code or ("Throttling" if outcome is Outcome.THROTTLED else "")
    at_fault = [name for prefix, name in _PARAMETERS.items() if code.startswith(prefix)]
    return ApiError(
        _status(error),
        f"{code}: {error.message}" if code else error.message,
        code=code,
        parameter=at_fault[0] if at_fault else "",
        retry_after=_RETRY_AFTER.get(code) if outcome is Outcome.REFUSED else RETRY_AFTER,
        is_refusal=error.is_refusal,
    )


def _status(error: EC2Error) -> int:
    """Return the HTTP status of an EC2 error: 401, 404 or 502.

    Old clients take other statuses for success: the Ruby gem 0.5.0 recognises errors by 401, 500,
    501 and 502 only. Deltacloud 1.1.3 answered 502 to whatever else EC2 refused.
    """
    if error.outcome is not Outcome.REFUSED or error.cause:
        return 502
    if error.code in _NOT_AUTHENTICATED or (error.code, error.http_status) == ("AuthFailure", 401):
        return 401
    return 404 if NOT_FOUND_CODES.fullmatch(error.code) else 502


def is_not_found(error: Exception) -> bool:
    """Tell whether an error becomes a 404."""
    return api_error(error).status == 404
