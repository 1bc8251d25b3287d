"""What a build leaves behind to be resumed from: its configuration, and one receipt and one empty marker a finished shard.

The order is data, receipt, marker: a marker that says done means the rows are there (datatrove's convention). Whatever a power cut
left damaged here counts as not done, since all but the configuration can be made again.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.claim import BUILD, LEASES
from kmem.kstore.manifest import Shard
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, read_verified, require_unaltered, store
from kmem.pipelines.settings import BEFORE, differences

_HEADER_BYTES = 128
"""Of a .npy file with a short shape."""
EXECUTOR = "executor.json"
STATS = "stats.json"
EMBEDDED = "embedded"
"""Folder of the receipts of vectors."""
STAGES, VERSIONS = "stages", "versions"
"""What only the statistics have, beside the report."""
PASSING = (
    *("progress.json", "read/", "score/", "deduplicate/", "chunk/", "deduplicate-chunks/", "kept/", "examined/"),
    *("vectors/", f"{EMBEDDED}/", "index/"),
)
"""Folders that nobody needs once the bank is there."""
Made = TypeVar("Made")


class Receipts:
    """A folder of a bank, `build/` unless named."""

    def __init__(self, place: Place, folder: str = BUILD) -> None:
        self.place, self.folder = place, folder

    @property
    def started(self) -> bool:
        return f"{self.folder}/{EXECUTOR}" in self.place.sizes(self.folder)

    def start(self, resolved: Mapping[str, Any]) -> None:
        """Record the resolved configuration, or compare it with the recorded one; raises as `require_same` does."""
        try:  # of two builds that begin at once in an object store, one
            self.place.create(f"{self.folder}/{EXECUTOR}", _json(resolved))
        except FileExistsError:
            self.require_same(resolved)

    def settle(self, found: Mapping[str, Any]) -> None:
        """Record what the sources gave, or compare it with what they gave before; raises as `require_same` does."""
        recorded = self.recorded()
        if not found.keys() <= recorded.keys():
            self._write_json(EXECUTOR, {**recorded, **found})
        else:
            self.require_same({**BEFORE, **recorded, **found})

    def recorded(self) -> dict[str, Any]:
        """What `start` and `settle` wrote. Raises CorruptBankError when that can't be read."""
        file = f"{self.folder}/{EXECUTOR}"
        try:
            return dict(json.loads(self.place.read(file)))
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def require_same(self, resolved: Mapping[str, Any]) -> None:
        """Raise ConfigError naming what differs from the recorded configuration, CorruptBankError when that can't be read."""
        file = f"{self.folder}/{EXECUTOR}"
        try:
            differing = differences({**BEFORE, **json.loads(self.place.read(file))}, resolved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged(error) from error
        if differing:
            raise ConfigError(
                f"{self.place} was begun with other settings: {'; '.join(differing)}; "
                "give the same again, choose another --out, or delete that folder."
            )

    def finished(self, index: int) -> Shard | None:
        """The receipt of a shard whose marker is there and whose files are what was written, else None: it is written again."""
        marker = self._marker(index)
        if marker not in self.place.lengths([marker]):
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
        """The embeddings [rows, dim] of a shard, if they were saved and are what was saved."""
        if (stored := self._embedded(index)) is None:
            return None
        try:
            vectors: np.ndarray = np.load(io.BytesIO(read_verified(self.place, stored)), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return vectors if vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 else None

    def has_vectors(self, index: int, *, rows: int, dim: int) -> bool:
        """Whether the embeddings [rows, dim] of a shard were saved and are what was saved; never all in memory."""
        stored = self._embedded(index)
        if stored is None or stored.size_bytes != _HEADER_BYTES + 4 * rows * dim:
            return False
        try:
            require_unaltered(self.place, stored)
        except (CorruptBankError, FileNotFoundError):
            return False
        return True

    def set_aside(self, index: int, aside: Sequence[tuple[int, str]]) -> None:
        """Say which rows of a shard stay empty, and why; before it is written. One that was written with others has to be once more."""
        if tuple(aside) != self.aside(index):
            self.place.remove([self._marker(index)])
            self._write_json(f"aside/{index:05d}.json", {"rows": [list(row) for row in aside]})

    def aside(self, index: int) -> tuple[tuple[int, str], ...]:
        """What `set_aside` said."""
        try:
            found = json.loads(self.place.read(f"{self.folder}/aside/{index:05d}.json"))["rows"]
            return tuple((int(row), str(reason)) for row, reason in found)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ()

    def save_vectors(self, index: int, vectors: np.ndarray) -> None:
        """Keep a shard's embeddings until the index is built: the file, then its receipt."""
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        stored = store(self.place, f"{self.folder}/vectors/{index:05d}.npy", buffer.getbuffer())
        self._write_json(f"{EMBEDDED}/{index:05d}.json", stored.to_dict())

    @property
    def partition_bytes(self) -> int | None:
        """The size of the partitions of a build that was begun, which stays; None where it is not told."""
        try:
            return int(self.recorded()["partition_bytes"])
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError, CorruptBankError):
            return None

    @property
    def settled(self) -> bool:
        """Whether it is recorded what the sources gave."""
        return "content" in self.recorded()

    def stats_of(self, kind: Callable[..., Made]) -> Made:
        """The statistics of a finished build, as an object that takes them by name. Raises CorruptBankError when they can't be read."""
        file = f"{self.folder}/{STATS}"
        try:
            data = json.loads(self.place.read(file))
            return kind(**{name: value for name, value in data.items() if name not in (STAGES, VERSIONS)})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CorruptBankError(f"{self.place.at(file)} is damaged ({error!r}); the bank itself is not: build elsewhere.") from error

    def note(self, stats: Mapping[str, Any]) -> None:
        """Record what came in, what was dropped and why, how long it took."""
        self._write_json(STATS, stats)

    def close(self) -> None:
        """After the commit: delete what only a resumed build needs."""
        there = self.place.sizes(self.folder)
        self.place.remove([file for file in there if file.removeprefix(f"{self.folder}/").startswith(PASSING)])

    def discard(self) -> None:
        """After the commit: delete all of it, but for the lease of who does so."""
        self.place.remove([file for file in self.place.sizes(self.folder) if not file.startswith(f"{LEASES}/")])

    def _damaged(self, error: Exception) -> CorruptBankError:
        return CorruptBankError(
            f"{self.place.at(f'{self.folder}/{EXECUTOR}')} is damaged ({error!r}); delete {self.place} and build again."
        )

    def _marker(self, index: int) -> str:
        return f"{self.folder}/completions/{index:05d}"

    def _receipt(self, index: int) -> str:
        return f"{self.folder}/shards/{index:05d}.json"

    def _embedded(self, index: int) -> StoredFile | None:
        try:
            return StoredFile(**json.loads(self.place.read(f"{self.folder}/{EMBEDDED}/{index:05d}.json")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write_json(self, file: str, data: Mapping[str, Any]) -> None:
        self.place.replace(f"{self.folder}/{file}", _json(data))


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
