"""Writing a bank: claim the place, write shards in any order and any number of times, commit once.

A shard is five files, each replaced whole. Whoever schedules the shards stores `Shard.to_dict()` once `write_shard` has
returned, and hands the records of all shards to `commit`. Until the commit the place is not a bank.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray

from kmem import __version__
from kmem.document import Chunk
from kmem.errors import ConfigError
from kmem.kstore.chunks import ChunkTable
from kmem.kstore.claim import claim
from kmem.kstore.commit import commit, manifest_numbers
from kmem.kstore.generation import GenerationWriter, store_if_other
from kmem.kstore.index.build import Fill
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.excerpts import EmbedQueries
from kmem.kstore.index.make import Texts, make_index
from kmem.kstore.lock import kept
from kmem.kstore.manifest import FORMAT_VERSION, IndexRecord, Manifest, Shard
from kmem.kstore.place import Place, place_of
from kmem.kstore.quant import Quantiser
from kmem.memories import Memories, MemorySpec
from kmem.paths import FIRST_GENERATION

BRACKET = "bracket.safetensors"
QUANTISER = "quantiser.safetensors"


def is_committed(place: Place) -> bool:
    """Whether the place holds a finished bank."""
    return bool(manifest_numbers(place))


class BankWriter:
    """Writes a new bank of `rows` memories, `rows_per_shard` to a shard, into a folder or URL.

    A new or empty place is claimed; the half-written one of the same configuration is taken up again, also by several
    processes at once, as long as no two write the same shard. `rows_per_shard` above `rows` means one shard.
    Raises ConfigError for bad counts or when the place was begun with another configuration (naming the fields),
    BankExistsError when it holds a bank or anything else; it is then left as it was. on_demand: as in GenerationWriter.
    """

    def __init__(
        self,
        path: str | Path | Place,
        spec: MemorySpec,
        quantiser: Quantiser,
        rows: int,
        rows_per_shard: int,
        *,
        on_demand: bool = False,
    ) -> None:
        _check_bracket(spec)
        self.place = place_of(path) if isinstance(path, str | Path) else path
        self.generation = GenerationWriter(self.place, FIRST_GENERATION, spec, quantiser, rows, rows_per_shard, on_demand=on_demand)
        claim(self.place, self._config())
        self._metadata = self.generation.write_metadata()
        self._bracket = store_if_other(self.place, BRACKET, safetensors.torch.save({"bracket": spec.bracket.detach().cpu().contiguous()}))
        trained = dict(quantiser.tensors())
        self._trained = store_if_other(self.place, QUANTISER, safetensors.torch.save(trained)) if trained else None

    @property
    def spec(self) -> MemorySpec:
        return self.generation.spec

    @property
    def rows(self) -> int:
        return self.generation.rows

    @property
    def shard_count(self) -> int:
        return self.generation.shard_count

    def shard_rows(self, index: int) -> range:
        """Rows of a shard; the last one may be shorter. Raises ConfigError for an index out of range."""
        return self.generation.shard_rows(index)

    def write_shard(self, index: int, memories: Memories, chunks: Sequence[Chunk]) -> Shard:
        """Write (or write again) one shard, as `GenerationWriter.write_shard` does."""
        return self.generation.write_shard(index, memories, chunks)

    def write_index(
        self,
        vectors: NDArray[np.float32],
        ids: NDArray[np.int64],
        embedder: Mapping[str, Any],
        config: IndexConfig | None = None,
        *,
        texts: Texts = tuple,
        fill: Fill | None = None,
        embed_queries: EmbedQueries | None = None,
    ) -> IndexRecord:
        """Build the search index over unit vectors [N, dim] under their ids [N] and write it, in place of an earlier one.

        embedder: `identity()` of the embedder that made the vectors. texts: gives the references in order, which an index of words needs,
        and `embed_queries`. fill: as `build_index` has it, which says what is raised. embed_queries: as `make_index` has it.
        """
        return make_index(self.place, vectors, texts, ids, embedder, config=config, fill=fill, embed_queries=embed_queries)

    def commit(
        self, shards: Sequence[Shard], index: IndexRecord, *, deleted: Sequence[int] = (), require_held: Callable[[], None] = kept
    ) -> Manifest:
        """Make the place a bank: check that every shard and the index are there, then write the manifest.

        deleted: ids of rows that were written empty. require_held: what `locked` gave, where the place is locked. The manifest holds no
        time of day, so that the same build gives the same bytes.
        Call it once, when no other writer is at work.
        Raises ConfigError when shards are missing or an id occurs twice, CorruptBankError when a file is missing or has
        another length than it was written with, BankExistsError when someone else committed first.
        """
        generation = self.generation.finished(shards, self._metadata)
        _check_ids(self.place, generation.shards, index)
        manifest = Manifest(
            number=1,
            kmem_version=__version__,
            identity=self.spec.identity,
            profile=self.spec.profile,
            head_dim=self.spec.head_dim,
            encoder_dtype=str(self.spec.bracket.dtype).removeprefix("torch."),
            quantiser=self.generation.quantiser.to_dict(),
            quantiser_tensors=self._trained,
            bracket=self._bracket,
            bracket_tokens=self.spec.bracket_tokens,
            generations=(generation,),
            index=index,
            deleted=tuple(sorted(deleted)),
        )
        self.place.tidy()
        commit(self.place, manifest, require_held)
        return manifest

    def _config(self) -> Mapping[str, Any]:
        """What two writers must share to work on the same place; the profile's provenance is a remark."""
        return {
            "format_version": FORMAT_VERSION,
            "identity": self.spec.identity.to_dict(),
            "profile": self.spec.profile.to_dict() | {"provenance": {}},
            "head_dim": self.spec.head_dim,
            "quantiser": self.generation.quantiser.to_dict(),
            "bracket": {"shape": list(self.spec.bracket.shape), "dtype": str(self.spec.bracket.dtype)},
            "rows": self.rows,
            "rows_per_shard": self.generation.rows_per_shard,
            "on_demand": self.generation.on_demand,
        }


def _check_ids(place: Place, shards: Sequence[Shard], index: IndexRecord) -> None:
    rows = sum(shard.rows for shard in shards)
    ids, counts = np.unique(ChunkTable(place, shards).all_ids(), return_counts=True)
    if len(ids) != rows:
        raise ConfigError(f"Id {ids[counts > 1][0]} was written more than once; drop duplicate chunks first.")
    if index.rows != rows:
        raise ConfigError(f"The index holds {index.rows} vectors for {rows} memories.")


def _check_bracket(spec: MemorySpec) -> None:
    layers, heads, shape = spec.profile.layers, spec.profile.heads, tuple(spec.bracket.shape)
    if len(shape) != 5 or (*shape[:3], shape[4]) != (layers, 2, heads, spec.head_dim):
        raise ConfigError(f"The bracket has shape {shape}, but [L, 2, H, P, D] is ({layers}, 2, {heads}, P, {spec.head_dim}).")
