"""Deltacloud storage snapshots, answered by native EC2."""
