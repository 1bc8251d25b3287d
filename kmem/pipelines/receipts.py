"""What a build leaves behind to be resumed from: its configuration, and one receipt and one empty marker a finished shard.

The order is data, receipt, marker: a marker that says done means the rows are there (datatrove's convention). Whatever a power cut
left damaged here counts as not done, since all but the configuration can be made again.
"""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.claim import BUILD
from kmem.kstore.durable import read_verified, replace_file
from kmem.kstore.manifest import Shard
from kmem.pipelines.settings import differences

EXECUTOR = "executor.json"
STATS = "stats.json"
VECTORS = "vectors"


class Receipts:
    """The `build/` folder of a bank."""

    def __init__(self, bank: Path) -> None:
        self.bank, self.folder = bank, bank / BUILD

    @property
    def started(self) -> bool:
        return (self.folder / EXECUTOR).exists()

    def start(self, resolved: Mapping[str, Any]) -> None:
        """Record the resolved configuration, or compare it with the recorded one; raises as `require_same` does."""
        for name in ("completions", "shards", VECTORS):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if self.started:
            self.require_same(resolved)
        else:
            self._write_json(EXECUTOR, resolved)

    def require_same(self, resolved: Mapping[str, Any]) -> None:
        """Raise ConfigError naming what differs from the recorded configuration, CorruptBankError when that can't be read."""
        path = self.folder / EXECUTOR
        try:
            differing = differences(json.loads(path.read_bytes()), resolved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptBankError(f"{path} is damaged ({error!r}); delete {self.bank} and build again.") from error
        if differing:
            raise ConfigError(
                f"{self.bank} was begun with other settings: {'; '.join(differing)}; "
                "give the same again, choose another --out, or delete that folder."
            )

    def finished(self, index: int) -> Shard | None:
        """The receipt of a shard whose marker is there and whose files are what was written, else None: it is written again."""
        if not self._marker(index).exists():
            return None
        try:
            shard = Shard.from_dict(json.loads((self.folder / _receipt(index)).read_bytes()))
            for file in shard.files:
                read_verified(self.bank, file)
        except (FileNotFoundError, ValueError, KeyError, TypeError, CorruptBankError):
            return None
        return shard

    def finish(self, index: int, shard: Shard) -> None:
        """Write the receipt, then the marker."""
        self._write_json(_receipt(index), shard.to_dict())
        self._marker(index).touch()

    def vectors(self, index: int, *, rows: int) -> np.ndarray | None:
        """The embeddings [rows, dim] of a shard, if they were saved and are whole."""
        try:
            vectors: np.ndarray = np.load(self.folder / _vectors(index), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return vectors if vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 else None

    def save_vectors(self, index: int, vectors: np.ndarray) -> None:
        """Keep a shard's embeddings until the index is built."""
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        replace_file(self.folder, _vectors(index), buffer.getbuffer())

    def close(self, stats: Mapping[str, Any]) -> None:
        """After the commit: delete what only a resumed build needs, and record what came in, what was dropped and why, how long it took.

        Statistics that are there already stay: they are those of the build that did the work.
        """
        shutil.rmtree(self.folder / VECTORS, ignore_errors=True)
        if not (self.folder / STATS).exists():
            self._write_json(STATS, stats)

    def _marker(self, index: int) -> Path:
        return self.folder / "completions" / f"{index:05d}"

    def _write_json(self, file: str, data: Mapping[str, Any]) -> None:
        replace_file(self.folder, file, json.dumps(data, indent=1, sort_keys=True).encode())


def _receipt(index: int) -> str:
    return f"shards/{index:05d}.json"


def _vectors(index: int) -> str:
    return f"{VECTORS}/{index:05d}.npy"
