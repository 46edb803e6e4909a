"""Addresses that most tests request."""

BASE_URL = "http://localhost:3001"
SNAPSHOTS = "/api/storage_snapshots"
SNAPSHOT_ID = "snap-12345678"
SNAPSHOT = f"{SNAPSHOTS}/{SNAPSHOT_ID}"
