"""Requests in front of an old server: which dcproxy answers, and which go to the old server.

The filter and the balancers of ``deploy/`` decide alike. Each request is a method, a target and
headers.
"""

from tests.support.addresses import SNAPSHOT, SNAPSHOTS

DRIVER = "X-Deltacloud-Driver"

FOR_DCPROXY = [
    ("GET", SNAPSHOTS, {}),
    ("GET", SNAPSHOT, {}),
    ("DELETE", SNAPSHOT, {}),
    ("POST", SNAPSHOTS, {}),
    ("PUT", SNAPSHOTS, {}),
    ("OPTIONS", SNAPSHOTS, {}),
    ("GET", f"{SNAPSHOTS}/", {}),
    ("GET", f"{SNAPSHOTS}/a/b", {}),
    ("GET", f"{SNAPSHOTS}?x=1", {}),
    # Drivers, in each of their places
    ("GET", "/api;driver=ec2/storage_snapshots", {}),
    ("GET", "/api;driver=EC2;provider=EU-WEST-1/storage_snapshots", {}),
    ("GET", "/api;provider=eu-west-1/storage_snapshots", {}),
    ("GET", "/api%3bdriver=ec2/storage_snapshots", {DRIVER: "mock"}),
    ("GET", "/api;driver=/storage_snapshots", {}),
    ("GET", "/api;driver=ec2;driver=mock/storage_snapshots", {}),
    ("GET", "/api;driver=ec2/storage_snapshots?api[driver]=mock", {DRIVER: "mock"}),
    ("GET", f"{SNAPSHOTS};driver=mock", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=Ec2", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=mock&api[driver]=ec2", {}),
    ("GET", f"{SNAPSHOTS}?x=api[driver]=mock", {}),
    ("GET", f"{SNAPSHOTS}?x=1%26api[driver]=mock", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=%65%432", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=", {}),
    ("GET", f"{SNAPSHOTS}?API[driver]=mock", {}),
    ("POST", f"{SNAPSHOTS}?api%5Bdriver%5D=ec2", {DRIVER: "mock"}),
    ("GET", SNAPSHOTS, {DRIVER: "EC2"}),
    ("GET", SNAPSHOTS, {DRIVER: ""}),
    # Spellings of the path
    ("GET", "/api/storage%5fsnapshots", {}),
    ("GET", "/%61pi%2fstorage_snapshots", {}),
    ("GET", "//api/storage_snapshots", {}),
    ("DELETE", "/api//storage_snapshots///snap-12345678", {}),
    ("POST", "/api/./storage_snapshots", {}),
    ("GET", "/api/%2e/storage_snapshots", {}),
    ("DELETE", "/api/docs/../storage_snapshots/snap-12345678", {}),
    ("POST", "/api/docs/x/%2e%2e/./..//storage_snapshots", {}),
    ("GET", "/x/../api/storage_snapshots", {}),
    ("GET", "/api;driver=ec2//storage_snapshots", {}),
    ("GET", "/api/.;x=1/storage_snapshots", {}),
    ("GET", "/api/storage_snapshots/snap-1/..", {}),
    ("GET", "http://cloud.example.org/api/storage_snapshots", {}),
]

FOR_OLD_SERVER = [
    ("GET", "/", {}),
    ("GET", "/api", {}),
    ("GET", "/api/storage_volumes", {}),
    ("GET", "/api/realms/us-east-1a", {}),
    ("GET", "/api/instances/i-1?x=1&y=%20z", {}),
    ("DELETE", "/api/instances/i-1", {}),
    ("POST", "/api/instances", {}),
    ("PUT", "/api/buckets/a/b%2Fc%20d", {}),
    ("GET", "/healthz", {}),
    ("GET", "/metrics", {}),
    # Other names
    ("GET", "/api/storage%255fsnapshots", {}),
    ("GET", "/api/Storage_Snapshots", {}),
    ("GET", "/API/storage_snapshots", {}),
    ("GET", "/api/storage_snapshots.xml", {}),
    ("GET", "/api/storage_snapshots2", {}),
    ("GET", "/apix/storage_snapshots", {}),
    ("GET", "/api/docs/storage_snapshots", {}),
    ("GET", "/x/api/storage_snapshots", {}),
    ("GET", "/evil/api/storage_snapshots", {}),
    # Spellings of the path
    ("GET", f"{SNAPSHOTS}/../instances", {}),
    ("GET", f"{SNAPSHOTS}/snap-1/%2e%2e/../instances", {}),
    ("GET", "/a//b/../c?d=/../e", {}),
    ("GET", "/caf%C3%A9?q=%FF", {}),
    # Other drivers
    ("GET", "/api;driver=mock/storage_snapshots", {}),
    ("POST", "/api;driver=mock//storage_snapshots", {}),
    ("GET", "/api;driver=mock;driver=ec2/storage_snapshots", {}),
    ("GET", "/api;driver=mock/storage_snapshots", {DRIVER: "ec2"}),
    ("GET", "/api;driver=mock/storage_snapshots?api%5Bdriver%5D=ec2", {}),
    ("GET", "/api;driver=ec2x/storage_snapshots", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=mock", {}),
    ("DELETE", f"{SNAPSHOT}?api%5Bdriver%5D=mock&x=%E9", {}),
    ("GET", f"{SNAPSHOTS}?x=1;api[driver]=mock", {}),
    ("GET", f"{SNAPSHOTS}?%61pi%5bdriver%5d=mock", {}),
    ("GET", f"{SNAPSHOTS}?api[driver]=ec2&api[driver]=mock", {}),
    ("POST", f"{SNAPSHOTS}?api[driver]=mock", {DRIVER: "ec2"}),
    ("GET", SNAPSHOTS, {DRIVER: "openstack"}),
    ("POST", SNAPSHOTS, {DRIVER: "ec2x"}),
]
"""Each of them arrives as it was sent."""
