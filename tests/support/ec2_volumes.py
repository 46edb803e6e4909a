"""An EC2 that keeps volumes and instances: it creates, attaches and detaches, and fails as told."""

from collections import defaultdict
from itertools import count

from tests.support.ec2_responses import (
    EC2Response,
    attachment_fields,
    created_response,
    error_response,
    tags_of,
    volume_item,
    volumes_page,
    xml_response,
)

ZONES = {"us-east-1a": "impaired", "us-east-1b": "available", "us-east-1c": "available"}
INSTANCE = "i-1a2b3c4d"
SNAPSHOT_GB = 8


class EC2Volumes:
    """Responds to requests as EC2 does, except where it has a fault for them.

    ``faults`` maps an action to what happens to its next requests. Each fault is a pair: the
    response (None: the usual one), and whether the request is executed all the same. ``volumes``
    maps ids to volumes; the attachment of one is None or instance, device and status. The next
    ``stale_reads`` of a volume do not show what was done since its creation. ``zones`` maps names
    to states, ``zone_types`` some of them to types, ``refused`` zones and devices to the responses
    that refuse them.
    """

    def __init__(self):
        self.volumes = {}
        self.tokens = {}
        self.actions = []
        self.faults = defaultdict(list)
        self.stale_reads = 0
        self.zones = dict(ZONES)
        self.zone_types = {}
        self.refused = {}
        self.numbers = count(1)

    def __call__(self, request):
        self.actions.append(request.action)
        faults = self.faults[request.action]
        fault, is_executed = faults.pop(0) if faults else (None, True)
        response = getattr(self, request.action)(request.parameters) if is_executed else None
        return fault or response

    def DescribeAvailabilityZones(self, parameters):  # noqa: N802
        items = "".join(
            f"<item><zoneName>{name}</zoneName><zoneState>{state}</zoneState>"
            f"<zoneType>{self.zone_types.get(name, 'availability-zone')}</zoneType></item>"
            for name, state in self.zones.items()
        )
        return xml_response(
            "DescribeAvailabilityZonesResponse",
            f"<availabilityZoneInfo>{items}</availabilityZoneInfo>",
        )

    def CreateVolume(self, parameters):  # noqa: N802
        given = {name: value for name, value in parameters.items() if name != "ClientToken"}
        id, earlier = self.tokens.get(parameters["ClientToken"], (None, given))
        if earlier != given:
            return error_response("IdempotentParameterMismatch")
        zone = parameters["AvailabilityZone"]
        if id is None and zone in self.refused:
            return self.refused[zone]
        if zone not in self.zones:
            return error_response("InvalidZone.NotFound")
        if parameters.get("SnapshotId", "snap-12345678") != "snap-12345678":
            return error_response("InvalidSnapshot.NotFound")
        size = int(parameters.get("Size", SNAPSHOT_GB))
        if "SnapshotId" in parameters and size < SNAPSHOT_GB:
            return error_response("InvalidParameterValue")
        if id is None:
            id = self.add(zone, size, tags_of(parameters))
            self.tokens[parameters["ClientToken"]] = (id, given)
        return created_response(self._item(id), "CreateVolume")

    def add(self, zone="us-east-1b", size=1, tags=None, attachment=None, id=None):
        id = id or f"vol-{next(self.numbers):08x}"
        self.volumes[id] = {
            "zone": zone,
            "size": size,
            "tags": tags or {},
            "attachment": attachment,
        }
        return id

    def DescribeVolumes(self, parameters):  # noqa: N802
        ids = list(self.volumes)
        is_stale = False
        if "VolumeId.1" in parameters:
            ids = [parameters["VolumeId.1"]]
            is_stale = self.stale_reads > 0
            self.stale_reads -= is_stale
            if ids[0] not in self.volumes:
                return error_response("InvalidVolume.NotFound")
        elif "Filter.1.Name" in parameters:
            assert parameters["Filter.1.Name"] == "attachment.instance-id"
            instance = parameters["Filter.1.Value.1"]
            ids = [id for id in ids if (self.volumes[id]["attachment"] or [None])[0] == instance]
        return volumes_page("".join(self._item(id, is_stale) for id in ids))

    def _item(self, id, is_stale=False):
        volume = self.volumes[id]
        attachment = volume.get("before") if is_stale else volume["attachment"]
        attachments = [attachment] if attachment else []
        return volume_item(
            id, attachments, volume["zone"], size=volume["size"], tags=volume["tags"]
        )

    def AttachVolume(self, parameters):  # noqa: N802
        id, instance, device = (parameters[n] for n in ("VolumeId", "InstanceId", "Device"))
        if device in self.refused:
            return self.refused[device]
        if instance != INSTANCE:
            return error_response("InvalidInstanceID.NotFound")
        if self.volumes[id]["attachment"]:
            return error_response("VolumeInUse")
        self._set(id, (instance, device, "attaching"))
        return xml_response(
            "AttachVolumeResponse", attachment_fields(id, *self.volumes[id]["attachment"])
        )

    def DetachVolume(self, parameters):  # noqa: N802
        id = parameters["VolumeId"]
        attachment = self.volumes[id]["attachment"]
        if not attachment:
            return error_response("IncorrectState")
        self._set(id, None)
        return xml_response("DetachVolumeResponse", attachment_fields(id, *attachment))

    def _set(self, id, attachment):
        self.volumes[id]["before"] = self.volumes[id]["attachment"]
        self.volumes[id]["attachment"] = attachment

    def DeleteVolume(self, parameters):  # noqa: N802
        id = parameters["VolumeId"]
        if id not in self.volumes:
            return error_response("InvalidVolume.NotFound")
        if self.volumes[id]["attachment"]:
            return error_response("VolumeInUse")
        del self.volumes[id]
        return xml_response("DeleteVolumeResponse", "<return>true</return>")


def lost(response: EC2Response | None = None):
    """A fault: the request is executed, and its response is lost or replaced."""
    return (response or EC2Response(b"", 200, (("Content-Length", "0"),)), True)


def not_executed(response: EC2Response | None = None):
    """A fault: the request is not executed, and its response is lost or replaced."""
    return (lost(response)[0], False)
