"""Memories as a bank would give them back: quality is measured of the numbers whose bytes are counted."""

from dataclasses import replace

from kmem.kstore.quant import quantiser, record_bytes
from kmem.memories import Memories
from kmem.profile import Profile

STORED = quantiser("fp16")
"""What `kmem bench quality` counts bytes in and reads."""


def as_stored(memories: Memories) -> Memories:
    """The memories after a round trip through float16, in the element type they had. Raises ConfigError for what float16 can't hold."""
    return replace(memories, kv=STORED.decode(STORED.encode(memories.kv)).to(memories.kv.dtype))


def stored_bytes(profile: Profile, head_dim: int) -> int:
    """Bytes of one memory under the profile."""
    return record_bytes(STORED, profile.slots, head_dim)
