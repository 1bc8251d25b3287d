"""What a build leaves behind to be resumed from: its configuration, and one receipt and one empty marker a finished shard.

The order is data, receipt, marker: a marker that says done means the rows are there (datatrove's convention).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.durable import require_size
from kmem.kstore.manifest import Shard


class Receipts:
    """The `build/` folder of a bank."""

    def __init__(self, bank: Path) -> None:
        self.bank, self.folder = bank, bank / "build"

    @property
    def started(self) -> bool:
        return (self.folder / "executor.json").exists()

    def start(self, resolved: Mapping[str, Any]) -> None:
        """Record the resolved configuration, or compare it with the recorded one; raises ConfigError naming what differs."""
        for name in ("completions", "shards", "vectors"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        path = self.folder / "executor.json"
        if not path.exists():
            _write_json(path, resolved)
            return
        recorded = json.loads(path.read_text())
        differing = sorted(key for key in resolved.keys() | recorded.keys() if recorded.get(key) != resolved.get(key))
        if differing:
            values = "; ".join(f"{key} was {recorded.get(key)!r}, is now {resolved.get(key)!r}" for key in differing)
            raise ConfigError(f"{self.bank} was begun with other settings, so it can't be resumed with these: {values}.")

    def finished(self, index: int) -> Shard | None:
        """The receipt of a shard whose marker is there and whose files are whole, else None: it is written again."""
        marker, receipt = self._marker(index), self._receipt(index)
        if not (marker.exists() and receipt.exists()):
            return None
        shard = Shard.from_dict(json.loads(receipt.read_text()))
        try:
            for file in shard.files:
                require_size(self.bank, file)
        except CorruptBankError:
            return None
        return shard

    def finish(self, index: int, shard: Shard) -> None:
        """Write the receipt, then the marker."""
        _write_json(self._receipt(index), shard.to_dict())
        self._marker(index).touch()

    def vectors(self, index: int) -> np.ndarray | None:
        """The embeddings [rows, dim] of a shard, if they were saved."""
        path = self._vectors(index)
        return np.load(path, allow_pickle=False) if path.exists() else None

    def save_vectors(self, index: int, vectors: np.ndarray) -> None:
        """Keep a shard's embeddings until the index is built."""
        path = self._vectors(index)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        os.replace(unfinished, path)

    def write_stats(self, stats: Mapping[str, Any]) -> None:
        """What came in, what was dropped and why, how long it took."""
        _write_json(self.folder / "stats.json", stats)

    def _marker(self, index: int) -> Path:
        return self.folder / "completions" / f"{index:05d}"

    def _receipt(self, index: int) -> Path:
        return self.folder / "shards" / f"{index:05d}.json"

    def _vectors(self, index: int) -> Path:
        return self.folder / "vectors" / f"{index:05d}.npy"


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w") as file:
        json.dump(data, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
