"""An EC2 that keeps snapshots and volumes, and fails as told.

The simulation has a subclass with accounts, a clock and reads that lag by it.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, takewhile
from threading import Lock

from tests.support.ec2_responses import (
    EC2Response,
    attachment_fields,
    created_response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
    tags_of,
    volume_item,
    volumes_page,
    xml_response,
)
from tests.support.package import REQUEST_TAG

ZONES = {"us-east-1a": "impaired", "us-east-1b": "available", "us-east-1c": "available"}
INSTANCE = "i-1a2b3c4d"
SNAPSHOT_GB = 8

# The request was executed, and its result was lost.
LOST = EC2Response(b"", 200, (("Content-Length", "0"),))


def lost(response: EC2Response | None = None):
    """A fault: the request is executed, and its response is lost or replaced."""
    return (response or LOST, True)


def not_executed(response: EC2Response | None = None):
    """A fault: the request is not executed, and its response is lost or replaced."""
    return (response or LOST, False)


@dataclass(kw_only=True)
class Snapshot:
    """``hidden``: the number of lists that do not show it yet."""

    id: str
    volume_id: str = "vol-0bc0de60"
    started: datetime
    tags: dict[str, str]
    description: str = ""
    status: str = "completed"
    hidden: int = 0
    _around_status: list[str] = field(default_factory=list, repr=False)

    @property
    def start_time(self) -> str:
        return f"{self.started:%Y-%m-%dT%H:%M:%S}.{self.started.microsecond // 1000:03}Z"

    def item(self) -> str:
        """Give the XML of the snapshot, as a list has it."""
        if not self._around_status:
            item = snapshot_item(
                self.id, self.volume_id, self.start_time, "\0", self.description, tags=self.tags
            )
            self._around_status = item.split("\0")
        return self.status.join(self._around_status)


@dataclass(kw_only=True)
class Volume:
    """``attachment`` is None or instance, device and status, ``before`` that of hidden reads."""

    zone: str
    size: int
    tags: dict[str, str]
    attachment: tuple[str, str, str] | None
    before: tuple[str, str, str] | None = None
    hidden: int = 0


class EC2Model:
    """Responds to requests as EC2 does, except where it has a fault for them.

    ``faults`` maps an action to what happens to its next requests. Each fault is a pair: the
    response (None: the usual one), and whether the request is executed all the same;
    ``create_faults`` are those of CreateSnapshot. Reads lag: see ``sees``. The n-th new snapshot is
    missing from the next ``lags[n]`` lists, the ones after the last of ``lags`` from the next
    ``lag`` lists. ``empty_lists`` is how many of the next lists are empty. ``on_list`` is called
    before each list. The n-th snapshot starts n seconds after ``began``. ``ignores_filters``: lists
    have every snapshot, whatever their filter says.

    The attachment of a volume is None or instance, device and status. ``zones`` maps names to
    states, ``zone_types`` some of them to types, ``refused`` zones and devices to the responses
    that refuse them.
    """

    def __init__(self, create_faults=(), lag=0, lags=(), began=datetime(2026, 1, 1, tzinfo=UTC)):
        self.faults = defaultdict(list, CreateSnapshot=list(create_faults))
        self.lag = lag
        self.lags = list(lags)
        self.empty_lists = 0
        self.has_empty_first_page = False
        self.ignores_filters = False
        self.snapshots = {}
        self.cursors = {}
        self.requests = 0
        self.volumes = {}
        self.tokens = {}
        self.zones = dict(ZONES)
        self.zone_types = {}
        self.refused = {}
        self.actions = []
        self.lock = Lock()
        self.numbers = count(1)
        self.began = began
        self.on_list = lambda: None

    def __call__(self, request):
        with self.lock:
            self.actions.append(request.action)
            if request.action == "DescribeSnapshots":
                self.on_list()
            faults = self.faults[request.action]
            fault, is_executed = faults.pop(0) if faults else (None, True)
            response = self.execute(request) if is_executed else None
            return fault or response

    def execute(self, request):
        """Carry out a request at this moment."""
        self.request = request
        self.requests += 1
        execute = getattr(self, request.action, None)
        return execute(request.parameters) if execute else error_response("InvalidAction")

    def sees(self, record):
        """Tell whether a read sees the last change of a snapshot or volume.

        The next ``hidden`` reads do not: the list of snapshots, and the volume that a read names.
        """
        is_hidden = record.hidden > 0
        record.hidden -= is_hidden
        return not is_hidden

    def CreateSnapshot(self, parameters):  # noqa: N802
        number = next(self.numbers)
        id = f"snap-{number:08x}"
        self.add_snapshot(
            id,
            tags_of(parameters),
            self.began + timedelta(seconds=number),
            hidden=self.lags.pop(0) if self.lags else self.lag,
            volume_id=parameters["VolumeId"],
            description=parameters.get("Description", ""),
        )
        return created_response(self.snapshots[id].item())

    def add_snapshot(self, id, tags, started, hidden=0, **fields):
        """Add a snapshot that is missing from the next ``hidden`` lists."""
        self.snapshots[id] = Snapshot(id=id, tags=tags, started=started, hidden=hidden, **fields)

    def add_of_other_request(self, of, seconds, id="snap-0000beef", hidden=0):
        """Add a snapshot that another request has made with the tag of the snapshot ``of``.

        It starts ``seconds`` later than that one; a negative number makes it older.
        """
        tags = self.snapshots[of].tags | {REQUEST_TAG: "0" * 32}
        started = self.snapshots[of].started + timedelta(seconds=seconds)
        self.add_snapshot(id, tags, started, hidden)
        return id

    def fail(self, id):
        """Let EC2 fail to complete a snapshot."""
        self.snapshots[id].status = "error"

    def DescribeSnapshots(self, parameters):  # noqa: N802
        seen = self.seen(parameters)
        if "NextToken" in parameters:
            found = self.cursors.pop(parameters["NextToken"], None)
            if found is None:
                return error_response("InvalidParameterValue")
        else:
            ids = _values(parameters, "SnapshotId")
            found = [snapshot for snapshot in seen if not ids or snapshot.id in ids]
            if len(found) < len(set(ids)):
                return error_response("InvalidSnapshot.NotFound")
            for matches in [] if self.ignores_filters else _filters(parameters):
                found = list(filter(matches, found))
            self.arrange(found)
        size, is_last = self.cut(parameters, found)
        token = "" if is_last else f"page-{self.requests}"
        if token:
            self.cursors[token] = found[size:]
        return snapshots_page("".join(snapshot.item() for snapshot in found[:size]), token)

    def seen(self, parameters):
        """Give the snapshots that a read sees; one that names them does not lag."""
        snapshots = list(self.snapshots.values())
        if "SnapshotId.1" in parameters or "NextToken" in parameters:
            return snapshots
        if self.empty_lists:
            self.empty_lists -= 1
            return []
        return [snapshot for snapshot in snapshots if self.sees(snapshot)]

    def arrange(self, found):
        """Put what a list has into the order of its pages."""
        found.reverse()

    def cut(self, parameters, found):
        """Give the size of a page, and whether it is the last one."""
        is_empty = self.has_empty_first_page and "NextToken" not in parameters
        size = 0 if is_empty else int(parameters.get("MaxResults", 1000))
        return size, len(found) <= size and not is_empty

    def DeleteSnapshot(self, parameters):  # noqa: N802
        is_found = self.snapshots.pop(parameters["SnapshotId"], None)
        return deleted_response() if is_found else error_response("InvalidSnapshot.NotFound")

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
            id = self.add_volume(zone, size, tags_of(parameters))
            self.tokens[parameters["ClientToken"]] = (id, given)
        return created_response(self._item(id), "CreateVolume")

    def add_volume(self, zone="us-east-1b", size=1, tags=None, attachment=None, id=None, hidden=0):
        id = id or f"vol-{next(self.numbers):08x}"
        self.volumes[id] = Volume(
            zone=zone, size=size, tags=tags or {}, attachment=attachment, hidden=hidden
        )
        return id

    def DescribeVolumes(self, parameters):  # noqa: N802
        ids = list(self.volumes)
        if "VolumeId.1" in parameters:
            id = parameters["VolumeId.1"]
            if id not in self.volumes:
                return error_response("InvalidVolume.NotFound")
            return volumes_page(self._item(id, is_stale=not self.sees(self.volumes[id])))
        if "Filter.1.Name" in parameters:
            assert parameters["Filter.1.Name"] == "attachment.instance-id"
            instance = parameters["Filter.1.Value.1"]
            ids = [id for id in ids if (self.volumes[id].attachment or [None])[0] == instance]
        return volumes_page("".join(map(self._item, ids)))

    def _item(self, id, is_stale=False):
        volume = self.volumes[id]
        attachment = volume.before if is_stale else volume.attachment
        attachments = [attachment] if attachment else []
        return volume_item(id, attachments, volume.zone, size=volume.size, tags=volume.tags)

    def AttachVolume(self, parameters):  # noqa: N802
        id, instance, device = (parameters[n] for n in ("VolumeId", "InstanceId", "Device"))
        if device in self.refused:
            return self.refused[device]
        if instance != INSTANCE:
            return error_response("InvalidInstanceID.NotFound")
        if self.volumes[id].attachment:
            return error_response("VolumeInUse")
        self._set(id, (instance, device, "attaching"))
        return xml_response(
            "AttachVolumeResponse", attachment_fields(id, *self.volumes[id].attachment)
        )

    def DetachVolume(self, parameters):  # noqa: N802
        id = parameters["VolumeId"]
        attachment = self.volumes[id].attachment
        if not attachment:
            return error_response("IncorrectState")
        self._set(id, None)
        return xml_response("DetachVolumeResponse", attachment_fields(id, *attachment))

    def _set(self, id, attachment):
        self.volumes[id].before = self.volumes[id].attachment
        self.volumes[id].attachment = attachment

    def DeleteVolume(self, parameters):  # noqa: N802
        id = parameters["VolumeId"]
        if id not in self.volumes:
            return error_response("InvalidVolume.NotFound")
        if self.volumes[id].attachment:
            return error_response("VolumeInUse")
        del self.volumes[id]
        return xml_response("DeleteVolumeResponse", "<return>true</return>")


def _values(parameters, prefix, suffix=""):
    names = (f"{prefix}.{number}{suffix}" for number in count(1))
    return [parameters[name] for name in takewhile(parameters.__contains__, names)]


def _filters(parameters):
    """Give for each filter of a list what tells whether a snapshot matches."""
    for number, name in enumerate(_values(parameters, "Filter", ".Name"), 1):
        values = map(re.escape, _values(parameters, f"Filter.{number}.Value"))
        pattern = "|".join(values).replace(r"\*", ".*").replace(r"\?", ".")
        yield partial(_matches, name, re.compile(pattern, re.DOTALL))


def _matches(name, pattern, snapshot):
    texts = {"volume-id": snapshot.volume_id, "snapshot-id": snapshot.id}
    text = texts.get(name, snapshot.tags.get(name.removeprefix("tag:")))
    return text is not None and pattern.fullmatch(text) is not None
