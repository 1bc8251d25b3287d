"""Where kmem keeps what it fetched or converted."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$KMEM_CACHE`, or `~/.cache/kmem`; not created here."""
    return Path(os.environ.get("KMEM_CACHE") or "~/.cache/kmem").expanduser()
