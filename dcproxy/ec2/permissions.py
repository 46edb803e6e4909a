"""The permissions of a key: which actions of EC2 are used, and which of them EC2 allows.

Writes are asked for with ``DryRun``: EC2 checks the permission and does nothing (EC2 API reference,
"Common query parameters").
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.session import callers_session

OK, WRONG, ALLOWED, MISSING, NOT_CHECKED = "ok", "wrong", "allowed", "missing", "not checked"
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})

Finding = dict[str, str]
Call = Callable[..., Any]
"""Calls an action of EC2, and returns what ``parse`` has read or the ``EC2Error``."""


class Permission(NamedTuple):
    """An action of EC2, and the call that shows whether a key may do it.

    Only reads have ``parse``. In ``params`` of writes, kinds of things stand for things. ``kinds``
    are the resources that a write is for, ``create`` is the call whose tags it is for.
    """

    action: str
    needed_for: str
    params: dict[str, Any]
    kinds: tuple[str, ...] = ()
    create: str = ""
    parse: Callable[[bytes], Any] | None = None


_OWN = {"OwnerIds": ["self"], "MaxResults": 5}
_VOLUME, _SNAPSHOT = {"VolumeId": "volume"}, {"SnapshotId": "snapshot"}
_VOLUME_OF = _SNAPSHOT | {"AvailabilityZone": "zone"}
_ATTACHED = {"VolumeId": "attached volume", "InstanceId": "instance"}
_ATTACH = _ATTACHED | {"Device": "device"}
_PERMISSIONS = (
    Permission("DescribeAvailabilityZones", "realms, new volumes", {}, parse=reader.zones),
    Permission("DescribeSnapshots", "snapshots", _OWN, parse=reader.detailed_snapshots),
    Permission("DescribeVolumes", "volumes", {"MaxResults": 100}, parse=reader.volumes),
    # Creates come first: a cloud that turns out to ignore DryRun is not asked to delete.
    Permission("CreateSnapshot", "creating snapshots", _VOLUME, ("snapshot", "volume")),
    Permission("CreateTags", "tags of new snapshots", _VOLUME, ("snapshot",), "CreateSnapshot"),
    Permission("CreateVolume", "creating volumes", _VOLUME_OF, ("snapshot", "volume")),
    Permission("CreateTags", "tags of new volumes", _VOLUME_OF, ("volume",), "CreateVolume"),
    Permission("AttachVolume", "attaching volumes", _ATTACH, ("instance", "volume")),
    Permission("DetachVolume", "detaching volumes", _ATTACHED, ("instance", "volume")),
    Permission("DeleteSnapshot", "deleting snapshots", _SNAPSHOT, ("snapshot",)),
    Permission("DeleteVolume", "deleting volumes", _VOLUME, ("volume",)),
)
_READS = [permission for permission in _PERMISSIONS if permission.parse]


def finding(check: str, result: str, text: str, note: str = "") -> Finding:
    """Create a finding; ``note`` says what to do, or why something was not checked."""
    return {"check": check, "result": result, "text": text, "note": note}


def read(call: Call) -> dict[str, Any]:
    """Return the answer to each action that reads."""
    return {one.action: call(one.action, one.parse, **one.params) for one in _READS}


def records(answer: Any) -> Any:
    """Return the records of an answer; none of an error."""
    return () if isinstance(answer, EC2Error) else answer.records


def examine(call: Call, reads: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is found for each permission; ``reads`` are the answers of ``read``."""
    things, results = _things(reads), dict[str, str]()
    reason = _reason_not_to_write(call)
    for action, needed_for, params, kinds, create, parse in _PERMISSIONS:
        absent = next((kind for kind in params.values() if not parse and not things[kind]), None)
        if parse:
            result, note = _result(reads[action])
        elif reason or absent:
            result, note = NOT_CHECKED, reason or f"there is no {absent}"
        elif create and results[create] != ALLOWED:
            result, note = NOT_CHECKED, f"this shows once {create} is allowed"
        else:
            given: dict[str, Any] = {name: things[kind] for name, kind in params.items()}
            if create:
                tags = [{"Key": "Name", "Value": "dcproxy"}]
                given["TagSpecifications"] = [{"ResourceType": kinds[0], "Tags": tags}]
            answer = call(create or action, bytes, DryRun=True, **given)
            result, note = _result(answer)
            if not isinstance(answer, EC2Error):
                result, note = WRONG, "the cloud ignored DryRun and has carried this out: undo it"
                reason = "the cloud ignores DryRun"
        results[action] = result
        yield finding(f"ec2:{action}", result, needed_for, note)


def _things(reads: Mapping[str, Any]) -> dict[str, str]:
    """Name one thing of each kind, as far as there is one."""
    zones, snapshots, volumes = map(records, reads.values())
    attached = next((volume for volume in volumes if volume.attachments), None)
    return {
        "zone": zones[0].name if zones else "",
        "snapshot": snapshots[0].id if snapshots else "",
        "volume": volumes[0].id if volumes else "",
        "attached volume": attached.id if attached else "",
        "instance": attached.attachments[0].instance_id if attached else "",
        "device": "/dev/sdf",
    }


def _reason_not_to_write(call: Call) -> str:
    """Ask for reads with DryRun: a cloud that carries them out would carry out writes too."""
    for read in _READS:
        answer = call(read.action, bytes, DryRun=True)
        if not isinstance(answer, EC2Error):
            return "the cloud ignores DryRun"
        if answer.code == "DryRunOperation":
            return ""
    return "no read shows that the cloud knows DryRun"


def _result(answer: Any) -> tuple[str, str]:
    if not isinstance(answer, EC2Error) or answer.code == "DryRunOperation":
        return ALLOWED, ""
    return (MISSING, "") if answer.code in _DENIED else (NOT_CHECKED, str(answer))


def missing_policy(permissions: list[Finding], region: str) -> dict[str, Any] | None:
    """Write the IAM policy that allows what is missing; a create needs its tags too."""
    missing = {found["check"] for found in permissions if found["result"] == MISSING}
    reads = [f"ec2:{one.action}" for one in _READS if f"ec2:{one.action}" in missing]
    statements = [{"Effect": "Allow", "Action": reads, "Resource": "*"}] if reads else []
    partition = callers_session().get_partition_for_region(region)
    for one, found in zip(_PERMISSIONS, permissions, strict=False):  # not examined: none
        if one.kinds and (found["result"] == MISSING or f"ec2:{one.create}" in missing):
            arns = [f"arn:{partition}:ec2:*:*:{kind}/*" for kind in one.kinds]
            statement: dict[str, Any] = {"Action": found["check"], "Resource": arns}
            if one.create:
                statement["Condition"] = {"StringEquals": {"ec2:CreateAction": one.create}}
            statements.append({"Effect": "Allow", **statement})
    return {"Version": "2012-10-17", "Statement": statements} if statements else None
