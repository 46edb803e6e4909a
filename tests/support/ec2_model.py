"""An EC2 that keeps snapshots: it creates, lists and deletes them, and fails as told."""

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

# The request was executed, and its result was lost.
LOST = EC2Response(b"", 200, (("Content-Length", "0"),))


class EC2Model:
    """Responds to requests as EC2 does, except where it has a fault for them.

    ``create_faults`` and ``delete_faults`` are used one per request. Each is a pair: the response
    (None: the usual one), and whether the request is executed all the same. Lists are eventually
    consistent: the n-th new snapshot is missing from the next ``lags[n]`` lists, the ones after
    the last of ``lags`` from the next ``lag`` lists. ``list_faults`` are responses to the next
    lists, ``empty_lists`` is how many of the next lists are empty. ``ignores_filters``: lists have
    every snapshot, whatever their filter says.
    """

    def __init__(self, create_faults=(), lag=0, lags=()):
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

    def DeleteSnapshot(self, parameters):  # noqa: N802
        fault, is_executed = self.delete_faults.pop(0) if self.delete_faults else (None, True)
        exists = parameters["SnapshotId"] in self.snapshots
        if is_executed:
            self.snapshots.pop(parameters["SnapshotId"], None)
        return fault or (
            deleted_response() if exists else error_response("InvalidSnapshot.NotFound")
        )
