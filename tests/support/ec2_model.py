"""An EC2 that keeps snapshots: it creates, lists and deletes them, and fails as told."""

import re
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock

from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
    tags_of,
    volume_item,
    volumes_page,
)
from tests.support.package import REQUEST_TAG

# The request was executed, and its result was lost.
LOST = EC2Response(b"", 200, (("Content-Length", "0"),))


class EC2Model:
    """Responds to requests as EC2 does, except where it has a fault for them.

    ``create_faults`` and ``delete_faults`` are used one per request. Each is a pair: the response
    (None: the usual one), and whether the request is executed all the same. Lists are eventually
    consistent: the n-th new snapshot is missing from the next ``lags[n]`` lists, the ones after
    the last of ``lags`` from the next ``lag`` lists. ``list_faults`` are responses to the next
    lists, ``empty_lists`` is how many of the next lists are empty. ``on_list`` is called before
    each list. The n-th snapshot starts n seconds after ``began``. ``ignores_filters``: lists have
    every snapshot, whatever their filter says. ``volume_tags`` are those of every volume.
    """

    def __init__(self, create_faults=(), lag=0, lags=(), began=datetime(2026, 1, 1, tzinfo=UTC)):
        self.create_faults = list(create_faults)
        self.lag = lag
        self.lags = list(lags)
        self.list_faults = []
        self.empty_lists = 0
        self.has_empty_first_page = False
        self.ignores_filters = False
        self.snapshots = {}
        self.actions = []
        self.lock = Lock()
        self.numbers = count(1)
        self.delete_faults = []
        self.began = began
        self.on_list = lambda: None
        self.volume_tags = {}

    def __call__(self, request):
        with self.lock:
            self.actions.append(request.action)
            return getattr(self, request.action)(request.parameters)

    def CreateSnapshot(self, parameters):  # noqa: N802
        fault, is_executed = self.create_faults.pop(0) if self.create_faults else (None, True)
        item = ""
        if is_executed:
            item = self._create(parameters)
        return fault or created_response(item)

    def _create(self, parameters):
        number = next(self.numbers)
        id = f"snap-{number:08x}"
        self.add(
            id,
            tags_of(parameters),
            self.began + timedelta(seconds=number),
            hidden=self.lags.pop(0) if self.lags else self.lag,
            volume_id=parameters["VolumeId"],
            description=parameters.get("Description", ""),
        )
        return self.snapshots[id]["item"]

    def add(self, id, tags, started, hidden=0, **fields):
        """Add a snapshot that is missing from the next ``hidden`` lists."""
        time = started.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.snapshots[id] = {
            "item": snapshot_item(id, start_time=time, tags=tags, **fields),
            "tags": tags,
            "started": started,
            "hidden": hidden,
        }

    def add_of_other_request(self, of, seconds, id="snap-0000beef", hidden=0):
        """Add a snapshot that another request has made with the tag of the snapshot ``of``.

        It starts ``seconds`` later than that one; a negative number makes it older.
        """
        tags = self.snapshots[of]["tags"] | {REQUEST_TAG: "0" * 32}
        started = self.snapshots[of]["started"] + timedelta(seconds=seconds)
        self.add(id, tags, started, hidden)
        return id

    def fail(self, id):
        """Let EC2 fail to complete a snapshot."""
        snapshot = self.snapshots[id]
        snapshot["item"] = snapshot["item"].replace(">completed<", ">error<")

    def DescribeSnapshots(self, parameters):  # noqa: N802
        self.on_list()
        if "SnapshotId.1" in parameters:
            found = [s for id, s in self.snapshots.items() if id == parameters["SnapshotId.1"]]
        elif self.list_faults:
            return self.list_faults.pop(0)
        elif self.empty_lists:
            self.empty_lists -= 1
            found = []
        elif self.has_empty_first_page and "NextToken" not in parameters:
            return snapshots_page("", "more")
        else:
            key = parameters["Filter.1.Name"].removeprefix("tag:")
            pattern = re.escape(parameters["Filter.1.Value.1"]).replace(r"\*", ".*")
            found = []
            for snapshot in self.snapshots.values():
                if snapshot["hidden"]:
                    snapshot["hidden"] -= 1
                elif self.ignores_filters or re.fullmatch(pattern, snapshot["tags"].get(key, "-")):
                    found.append(snapshot)
        return snapshots_page("".join(snapshot["item"] for snapshot in reversed(found)))

    def DescribeVolumes(self, parameters):  # noqa: N802
        return volumes_page(volume_item(parameters["VolumeId.1"], tags=self.volume_tags))

    def DeleteSnapshot(self, parameters):  # noqa: N802
        fault, is_executed = self.delete_faults.pop(0) if self.delete_faults else (None, True)
        exists = parameters["SnapshotId"] in self.snapshots
        if is_executed:
            self.snapshots.pop(parameters["SnapshotId"], None)
        return fault or (
            deleted_response() if exists else error_response("InvalidSnapshot.NotFound")
        )
