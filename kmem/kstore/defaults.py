"""How a bank is searched unless told otherwise; importable without torch."""

TOP_K = 5
"""Memories a search finds: what a span reads (Memory³ §3.3)."""
