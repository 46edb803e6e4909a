"""An EC2 with a memory: it makes, lists and deletes snapshots, and fails as a test wants it to."""

import re
from itertools import count
from threading import Lock

from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
)

LOST = EC2Response(b"", 200, (("Content-Length", "0"),))  # done, and the answer says nothing


class EC2Model:
    """``faults`` are answered instead of the truth, one a CreateSnapshot.

    A fault is an answer, and whether the snapshot is made all the same. ``lags`` are how many looks
    miss each new snapshot, ``lag`` how many miss the rest. ``look_faults`` are answered to looks,
    ``blind_looks`` see nothing.
    """

    def __init__(self, faults=(), lag=0, lags=()):
        self.faults = list(faults)
        self.lag = lag
        self.lags = list(lags)
        self.look_faults = []
        self.blind_looks = 0
        self.has_empty_first_page = False
        self.snapshots = {}
        self.actions = []
        self.lock = Lock()
        self.numbers = count(1)
        self.delete_faults = []

    def __call__(self, request):
        with self.lock:
            self.actions.append(request.action)
            return getattr(self, request.action)(request.parameters)

    def CreateSnapshot(self, parameters):  # noqa: N802
        fault, is_made = self.faults.pop(0) if self.faults else (None, True)
        item = ""
        if is_made:
            item = self.make(parameters)
        return fault or created_response(item)

    def make(self, parameters):
        number = next(self.numbers)
        id = f"snap-{number:08x}"
        tags = {
            parameters[f"TagSpecification.1.Tag.{n}.Key"]: parameters[
                f"TagSpecification.1.Tag.{n}.Value"
            ]
            for n in range(1, 4)
            if f"TagSpecification.1.Tag.{n}.Key" in parameters
        }
        tag_items = "".join(
            f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items()
        )
        item = snapshot_item(
            id,
            parameters["VolumeId"],
            f"2026-01-01T00:00:{number:02}.000Z",
            description=parameters.get("Description", ""),
        ).replace("</item>", f"<tagSet>{tag_items}</tagSet></item>")
        self.snapshots[id] = {
            "item": item,
            "tags": tags,
            "hidden": self.lags.pop(0) if self.lags else self.lag,
        }
        return item

    def DescribeSnapshots(self, parameters):  # noqa: N802
        if "SnapshotId.1" in parameters:
            found = [s for id, s in self.snapshots.items() if id == parameters["SnapshotId.1"]]
        elif self.look_faults:
            return self.look_faults.pop(0)
        elif self.blind_looks:
            self.blind_looks -= 1
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
                elif re.fullmatch(pattern, snapshot["tags"].get(key, "-")):
                    found.append(snapshot)
        return snapshots_page("".join(snapshot["item"] for snapshot in reversed(found)))

    def DeleteSnapshot(self, parameters):  # noqa: N802
        fault, is_done = self.delete_faults.pop(0) if self.delete_faults else (None, True)
        is_there = parameters["SnapshotId"] in self.snapshots
        if is_done:
            self.snapshots.pop(parameters["SnapshotId"], None)
        return fault or (
            deleted_response() if is_there else error_response("InvalidSnapshot.NotFound")
        )
