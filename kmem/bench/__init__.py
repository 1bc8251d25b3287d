"""Measurements that a user can repeat: one file a benchmark, each prints or writes one JSON object."""
