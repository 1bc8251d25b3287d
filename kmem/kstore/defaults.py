"""How a bank is searched and written unless told otherwise; importable without torch."""

TOP_K = 5
"""Memories a search finds: what a span reads (Memory³ §3.3)."""
SHARD_BYTES = 64 << 20
"""Payload of a shard, the unit of writing and of resuming."""
