"""Which function does what an endpoint of the URL map names."""

from collections.abc import Callable

from webob import Response

from dcproxy.operations import drivers, entry_point, realms, storage_snapshots, storage_volumes
from dcproxy.operations.call import Call

OPERATIONS: dict[str, Callable[[Call], Response]] = {
    "entry_point.show": entry_point.show,
    "drivers.index": drivers.index,
    "drivers.show": drivers.show,
    "realms.index": realms.index,
    "realms.show": realms.show,
    "storage_snapshots.index": storage_snapshots.index,
    "storage_snapshots.new": storage_snapshots.new,
    "storage_snapshots.show": storage_snapshots.show,
    "storage_snapshots.create": storage_snapshots.create,
    "storage_snapshots.destroy": storage_snapshots.destroy,
    "storage_snapshots.destroy_by_post": storage_snapshots.destroy_by_post,
    "storage_volumes.index": storage_volumes.index,
    "storage_volumes.show": storage_volumes.show,
}
"""An operation answers, or raises ``DeltacloudError``."""

PUBLIC_OPERATIONS = {
    "entry_point.show",
    "drivers.index",
    "drivers.show",
    "storage_snapshots.new",
}
"""Those that need no credentials."""
