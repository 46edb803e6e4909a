"""What a path means, and which requests the filter handles.

The first rows of the latter are the paths in docs/filter.md.
"""

import pytest
from webob import Request

from dcproxy.deltacloud.request import is_for_collections
from dcproxy.deltacloud.urls import canonical_path

SNAPSHOTS = "/storage_snapshots"
DRIVER = "X-Deltacloud-Driver"


def is_ours(address, driver=None, collections=("storage_snapshots",)):
    headers = {} if driver is None else {DRIVER: driver}
    return is_for_collections(Request.blank(address, headers=headers), collections)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"/api{SNAPSHOTS}", True),
        (f"/api{SNAPSHOTS}/snap-1", True),
        (f"/api{SNAPSHOTS}/new", True),
        (f"/api{SNAPSHOTS}/snap-1/anything", True),
        (f"/api{SNAPSHOTS}/", True),
        (f"/api{SNAPSHOTS}//", True),
        (f"//api{SNAPSHOTS}", True),
        (f"/api//{SNAPSHOTS}", True),
        (f"/api/.{SNAPSHOTS}", True),
        (f"/./api{SNAPSHOTS}", True),
        (f"/api/docs/..{SNAPSHOTS}", True),
        (f"/../api{SNAPSHOTS}", True),
        (f"/api/docs/..;x=y{SNAPSHOTS}", True),
        ("/api/storage%5fsnapshots", True),
        ("/%61pi/%73torage_snapshots", True),
        ("/api%2Fstorage_snapshots", True),
        ("/api/%2e%2Fstorage_snapshots", True),
        (f"/api{SNAPSHOTS};x=y", True),
        (f"/api{SNAPSHOTS};driver=mock", True),
        (f"/api;x=y{SNAPSHOTS}", True),
        ("/api/storage%255fsnapshots", False),
        (f"/api{SNAPSHOTS}/../instances", False),
        (f"/api{SNAPSHOTS}s", False),
        (f"/api{SNAPSHOTS}.xml", False),
        ("/api/Storage_Snapshots", False),
        (f"/API{SNAPSHOTS}", False),
        (f"/apix{SNAPSHOTS}", False),
        (f"/x/api{SNAPSHOTS}", False),
        (SNAPSHOTS, False),
        ("/api/storage_volumes", False),
        ("/api/docs/storage_snapshots", False),
        ("/api", False),
        ("/api/", False),
        ("/", False),
    ],
)
def test_collection_of_the_path_decides(address, expected):
    assert is_ours(address) == expected


@pytest.mark.parametrize(
    ("address", "driver", "expected"),
    [
        (f"/api;driver=ec2{SNAPSHOTS}", None, True),
        (f"/api;driver=EC2{SNAPSHOTS}", None, True),
        (f"/api;driver=mock{SNAPSHOTS}", None, False),
        (f"//api;driver=mock{SNAPSHOTS}", None, False),
        (f"/api;driver=mock/.{SNAPSHOTS}", None, False),
        (f"/api%3Bdriver=mock{SNAPSHOTS}", None, False),
        (f"/api;driver=%65c2{SNAPSHOTS}", None, True),
        (f"/api;driver=ec2;driver=mock{SNAPSHOTS}", None, True),
        (f"/api;driver=mock;driver=ec2{SNAPSHOTS}", None, False),
        (f"/api;driver=;driver=mock{SNAPSHOTS}", None, False),
        (f"/api{SNAPSHOTS}?api[driver]=EC2", None, True),
        (f"/api{SNAPSHOTS}?api%5Bdriver%5D=ec2", None, True),
        (f"/api{SNAPSHOTS}?api[driver]=MOCK", "", False),
        (f"/api{SNAPSHOTS}?x=1;api[driver]=mock", None, False),
        (f"/api{SNAPSHOTS}?x=%00&api[driver]=mock", None, False),
        (f"/api{SNAPSHOTS}?x=%00", None, True),
        (f"/api{SNAPSHOTS}?api[driver]=mock&api[driver]=ec2", None, True),
        (f"/api{SNAPSHOTS}?api[driver]=ec2&api[driver]=mock", None, False),
        (f"/api{SNAPSHOTS}?api[driver]=", None, True),
        (f"/api{SNAPSHOTS}", "Ec2", True),
        (f"/api{SNAPSHOTS}", "OpenStack", False),
        (f"/api{SNAPSHOTS}", "", True),
        (f"/api;driver=ec2{SNAPSHOTS}?api[driver]=mock", "mock", True),
        (f"/api;driver=mock{SNAPSHOTS}?api[driver]=ec2", "ec2", False),
        (f"/api{SNAPSHOTS}?api[driver]=ec2", "mock", True),
        (f"/api{SNAPSHOTS}?api[driver]=mock", "ec2", False),
        (f"/api{SNAPSHOTS}?api[driver]=", "mock", False),
    ],
)
def test_driver_decides(address, driver, expected):
    assert is_ours(address, driver) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/api/storage_volumes", True),
        ("/api/storage_volumes/vol-1/attach", True),
        (f"/api{SNAPSHOTS}", False),
        ("/api;driver=mock/storage_volumes", False),
    ],
)
def test_given_collections_decide(address, expected):
    assert is_ours(address, collections=("storage_volumes",)) == expected


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/api/..", "/"),
        ("/../..", "/"),
        ("/api", "/api"),
        ("//api", "/api"),
        ("/api/", "/api/"),
        ("/api//", "/api/"),
        ("/api/.", "/api/"),
        ("/api/realms/..", "/api/"),
        ("/api//realms", "/api/realms"),
        ("//api/./realms", "/api/realms"),
        ("/api/storage_snapshots//snap-1", "/api/storage_snapshots/snap-1"),
        ("/api/storage_snapshots//", "/api/storage_snapshots/"),
        ("/api/storage_snapshots/snap-1/..", "/api/storage_snapshots/"),
        ("/api/storage_snapshots/snap-1/../", "/api/storage_snapshots/"),
        ("/api/storage_snapshots;x=y//;z/snap-1;driver=mock", "/api/storage_snapshots/snap-1"),
        ("/api/...", "/api/..."),
        # Names of realms may have slashes.
        ("/api/realms/a/b", "/api/realms/a/b"),
        ("/api/realms/a//b", "/api/realms/a//b"),
        ("/api/realms/a/", "/api/realms/a/"),
        ("//api//realms//a//b", "/api/realms/a//b"),
        ("/api/realms//a", "/api/realms/a"),
        ("/api/realms/a//../../realms/b", "/api/realms/b"),
        ("/api/realms//../storage_snapshots", "/api/storage_snapshots"),
        ("/api/realms/a//../../storage_snapshots", "/api/storage_snapshots"),
    ],
)
def test_canonical_path(path, canonical):
    assert canonical_path(path) == (canonical, ())


@pytest.mark.parametrize(
    ("path", "matrix"),
    [
        ("/api;driver=ec2/realms", (("driver", "ec2"),)),
        ("//api;driver=ec2//realms", (("driver", "ec2"),)),
        ("/x/../api;provider=a;driver=b", (("provider", "a"), ("driver", "b"))),
        ("/api;driver=ec2/../api/realms", ()),
        ("/api/realms;driver=ec2", ()),
        ("/x;driver=ec2/realms", ()),
        ("/api;driver=;x=y", ()),
    ],
)
def test_driver_and_provider_of_a_path(path, matrix):
    assert canonical_path(path)[1] == matrix
