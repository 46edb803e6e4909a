"""Which requests the filter handles."""

import pytest
from webob import Request

from dcproxy.deltacloud.request import is_for_snapshots

SNAPSHOTS = "/storage_snapshots"
DRIVER = "X-Deltacloud-Driver"


@pytest.mark.parametrize(
    ("address", "driver", "is_ours"),
    [
        (f"/api{SNAPSHOTS}", None, True),
        (f"/api{SNAPSHOTS}/snap-1", None, True),
        (f"/api{SNAPSHOTS};x=y", None, True),
        (f"/api{SNAPSHOTS};driver=mock", None, True),
        (f"/api;driver=ec2{SNAPSHOTS}", None, True),
        (f"/api;driver=EC2{SNAPSHOTS}", None, True),
        (f"/api{SNAPSHOTS}", "Ec2", True),
        (f"/api{SNAPSHOTS}", "", True),
        (f"/api{SNAPSHOTS}?api[driver]=EC2", None, True),
        (f"/api{SNAPSHOTS}?api%5Bdriver%5D=ec2", None, True),
        (f"/api{SNAPSHOTS}?api[driver]=", None, True),
        (f"/api;driver=ec2{SNAPSHOTS}?api[driver]=mock", "mock", True),
        (f"/api{SNAPSHOTS}?api[driver]=mock", "ec2", True),
        (f"/api{SNAPSHOTS}?x=%00", None, True),
        (f"/api{SNAPSHOTS}?api[driver]=mock", None, False),
        (f"/api{SNAPSHOTS}?api[driver]=MOCK", "", False),
        (f"/api{SNAPSHOTS}?api[driver]=ec2", "mock", False),
        (f"/api;driver=mock{SNAPSHOTS}?api[driver]=ec2", "ec2", False),
        (f"/api;driver=ec2;driver=mock{SNAPSHOTS}", None, False),
        (f"/api{SNAPSHOTS}", "OpenStack", False),
        ("/api/storage_volumes", None, False),
        ("/api/docs/storage_snapshots", None, False),
        ("/", None, False),
    ],
)
def test_driver_of_a_request_decides(address, driver, is_ours):
    headers = {} if driver is None else {DRIVER: driver}
    assert is_for_snapshots(Request.blank(address, headers=headers)) == is_ours
