"""What a build leaves behind to be resumed from: its configuration, and one receipt and one empty marker a finished shard.

The order is data, receipt, marker: a marker that says done means the rows are there (datatrove's convention). Whatever a power cut
left damaged here counts as not done, since all but the configuration can be made again.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.claim import BUILD
from kmem.kstore.manifest import Shard
from kmem.kstore.place import Place
from kmem.kstore.stored import require_unaltered
from kmem.pipelines.settings import differences

EXECUTOR = "executor.json"
STATS = "stats.json"


class Receipts:
    """A folder of a bank, `build/` unless named."""

    def __init__(self, place: Place, folder: str = BUILD) -> None:
        self.place, self.folder = place, folder

    @property
    def started(self) -> bool:
        return f"{self.folder}/{EXECUTOR}" in self.place.sizes(self.folder)

    def start(self, resolved: Mapping[str, Any]) -> None:
        """Record the resolved configuration, or compare it with the recorded one; raises as `require_same` does."""
        if self.started:
            self.require_same(resolved)
        else:
            self._write_json(EXECUTOR, resolved)

    def require_same(self, resolved: Mapping[str, Any]) -> None:
        """Raise ConfigError naming what differs from the recorded configuration, CorruptBankError when that can't be read."""
        file = f"{self.folder}/{EXECUTOR}"
        try:
            differing = differences(json.loads(self.place.read(file)), resolved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptBankError(f"{self.place.at(file)} is damaged ({error!r}); delete {self.place} and build again.") from error
        if differing:
            raise ConfigError(
                f"{self.place} was begun with other settings: {'; '.join(differing)}; "
                "give the same again, choose another --out, or delete that folder."
            )

    def finished(self, index: int) -> Shard | None:
        """The receipt of a shard whose marker is there and whose files are what was written, else None: it is written again."""
        if self._marker(index) not in self.place.sizes(f"{self.folder}/completions"):
            return None
        try:
            shard = Shard.from_dict(json.loads(self.place.read(self._receipt(index))))
            for file in shard.files:
                require_unaltered(self.place, file)
        except (FileNotFoundError, ValueError, KeyError, TypeError, CorruptBankError):
            return None
        return shard

    def finish(self, index: int, shard: Shard) -> None:
        """Write the receipt, then the marker."""
        self._write_json(f"shards/{index:05d}.json", shard.to_dict())
        self.place.replace(self._marker(index), b"")

    def vectors(self, index: int, *, rows: int) -> np.ndarray | None:
        """The embeddings [rows, dim] of a shard, if they were saved and are whole."""
        try:
            vectors: np.ndarray = np.load(io.BytesIO(self.place.read(self._vectors(index))), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return vectors if vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 else None

    def save_vectors(self, index: int, vectors: np.ndarray) -> None:
        """Keep a shard's embeddings until the index is built."""
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        self.place.replace(self._vectors(index), buffer.getbuffer())

    def close(self, stats: Mapping[str, Any]) -> None:
        """After the commit: delete what only a resumed build needs, and record what came in, what was dropped and why, how long it took.

        Statistics that are there already stay: they are those of the build that did the work.
        """
        there = self.place.sizes(self.folder)
        self.place.remove([file for file in there if file.startswith(f"{self.folder}/vectors/")])
        if f"{self.folder}/{STATS}" not in there:
            self._write_json(STATS, stats)

    def discard(self) -> None:
        """After the commit: delete all of it."""
        self.place.remove(list(self.place.sizes(self.folder)))

    def _marker(self, index: int) -> str:
        return f"{self.folder}/completions/{index:05d}"

    def _receipt(self, index: int) -> str:
        return f"{self.folder}/shards/{index:05d}.json"

    def _vectors(self, index: int) -> str:
        return f"{self.folder}/vectors/{index:05d}.npy"

    def _write_json(self, file: str, data: Mapping[str, Any]) -> None:
        self.place.replace(f"{self.folder}/{file}", json.dumps(data, indent=1, sort_keys=True).encode())
