"""Writing a bank: claim the folder, write shards in any order and any number of times, commit once.

A shard is four files, each replaced whole. Whoever schedules the shards stores `Shard.to_dict()` once `write_shard` has
returned, and hands the records of all shards to `commit`. Until the commit the folder is not a bank.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray

from kmem import __version__
from kmem.document import Chunk
from kmem.errors import ConfigError
from kmem.kstore.chunks import ChunkTable, encode_chunks
from kmem.kstore.claim import claim_folder
from kmem.kstore.commit import manifest_numbers, write_manifest
from kmem.kstore.durable import StoredFile, describe_file, remove_partials, replace_file, require_size
from kmem.kstore.index.build import IndexConfig, build_index
from kmem.kstore.index.search import write_index
from kmem.kstore.layout import Layout
from kmem.kstore.manifest import FORMAT_VERSION, Generation, IndexRecord, Manifest, Shard
from kmem.kstore.quant import Quantiser
from kmem.memories import Memories, MemorySpec

BRACKET = "bracket.safetensors"
QUANTISER = "quantiser.safetensors"
GENERATION = "g0000"


def is_committed(path: str | Path) -> bool:
    """Whether the folder holds a finished bank."""
    return bool(manifest_numbers(Path(path)))


class BankWriter:
    """Writes `rows` memories, `rows_per_shard` to a shard, into the folder `path`.

    A new or empty folder is claimed; the half-written folder of the same configuration is taken up again, also by several
    processes at once, as long as no two write the same shard. `rows_per_shard` above `rows` means one shard.
    Raises ConfigError for bad counts or when the folder was begun with another configuration (naming the fields),
    BankExistsError when it holds a bank or anything else; it is then left as it was.
    """

    def __init__(self, path: str | Path, spec: MemorySpec, quantiser: Quantiser, rows: int, rows_per_shard: int) -> None:
        if rows < 1 or rows_per_shard < 1:
            raise ConfigError(f"A bank needs at least one memory and one row a shard, not rows={rows}, rows_per_shard={rows_per_shard}.")
        _check_bracket(spec)
        self.path, self.spec, self.quantiser = Path(path), spec, quantiser
        self.rows, self.rows_per_shard = rows, min(rows, rows_per_shard)
        self.layout = Layout(
            generation=GENERATION,
            rows=rows,
            rows_per_shard=self.rows_per_shard,
            slots=spec.profile.slots,
            record_shape=quantiser.record_shape(spec.profile.slots, spec.head_dim),
            record_dtype=quantiser.record_dtype(),
            attributes={"dtype": quantiser.element, "quantiser": quantiser.to_dict()},
        )
        claim_folder(self.path, self._config())
        self._metadata = tuple(self._write_if_other(file, data) for file, data in self.layout.metadata().items())
        self._bracket = self._write_if_other(BRACKET, safetensors.torch.save({"bracket": spec.bracket.detach().cpu().contiguous()}))
        trained = dict(quantiser.tensors())
        self._trained = self._write_if_other(QUANTISER, safetensors.torch.save(trained)) if trained else None

    @property
    def shard_count(self) -> int:
        return -(-self.rows // self.rows_per_shard)

    def shard_rows(self, index: int) -> range:
        """Rows of a shard; the last one may be shorter. Raises ConfigError for an index out of range."""
        if not 0 <= index < self.shard_count:
            raise ConfigError(f"Shard {index} does not exist: {self.rows} rows make shards 0 to {self.shard_count - 1}.")
        first = index * self.rows_per_shard
        return range(first, min(first + self.rows_per_shard, self.rows))

    def write_shard(self, index: int, memories: Memories, chunks: Sequence[Chunk]) -> Shard:
        """Write (or write again) one shard. The same input gives the same bytes. Durable when it returns.

        Raises ConfigError when memories and chunks don't belong to each other or to this shard, or when the quantiser can't
        hold a value; IdentityMismatchError when the memories were written by another model.
        """
        rows = self.shard_rows(index)
        self._check(rows, memories, chunks)
        kv = self._write(*self.layout.encode_kv(index, self.quantiser.encode(memories.kv)))
        positions = memories.slot_position.cpu().numpy().astype(np.uint8)
        slot_position = self._write(*self.layout.encode_slot_position(index, positions))
        length = self._write(*self.layout.encode_length(index, memories.lengths.cpu().numpy().astype(np.uint8)))
        texts = self._write(f"chunks/{GENERATION}-{index:05d}.parquet", encode_chunks(chunks, rows.start))
        named = {"kv": kv, "slot_position": slot_position, "length": length, "chunks": texts}
        stored = {
            f"{name}_{field}": value
            for name, file in named.items()
            for field, value in (("file", file.file), ("bytes", file.size_bytes), ("sha256", file.sha256))
        }
        return Shard.from_dict({"index": index, "rows": len(rows), "first_row": rows.start, **stored})

    def write_index(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], embedder: Mapping[str, Any], config: IndexConfig | None = None
    ) -> IndexRecord:
        """Build the search index over unit vectors [N, dim] under their ids [N] and write it, in place of an earlier one.

        embedder: `identity()` of the embedder that made the vectors. Raises ConfigError as `build_index` does.
        """
        index, stats = build_index(vectors, ids, config=config)
        return write_index(self.path, index, stats, embedder)

    def commit(self, shards: Sequence[Shard], index: IndexRecord) -> Manifest:
        """Make the folder a bank: check that every shard and the index are there, then write the manifest.

        The manifest holds no time of day, so that the same build gives the same bytes. Call it once, when no other writer is at work.
        Raises ConfigError when shards are missing or an id occurs twice, CorruptBankError when a file is missing or has
        another length than it was written with, BankExistsError when someone else committed first.
        """
        shards = tuple(sorted(shards, key=lambda shard: shard.index))
        self._check_complete(shards, index)
        manifest = Manifest(
            number=1,
            kmem_version=__version__,
            identity=self.spec.identity,
            profile=self.spec.profile,
            head_dim=self.spec.head_dim,
            encoder_dtype=str(self.spec.bracket.dtype).removeprefix("torch."),
            quantiser=self.quantiser.to_dict(),
            quantiser_tensors=self._trained,
            bracket_file=self._bracket.file,
            bracket_bytes=self._bracket.size_bytes,
            bracket_sha256=self._bracket.sha256,
            bracket_tokens=self.spec.bracket_tokens,
            generations=(
                Generation(name=GENERATION, rows=self.rows, rows_per_shard=self.rows_per_shard, shards=shards, metadata=self._metadata),
            ),
            index=index,
        )
        for file in manifest.files:
            require_size(self.path, file)
        remove_partials(self.path)
        write_manifest(self.path, manifest)
        return manifest

    def _config(self) -> Mapping[str, Any]:
        """What two writers must share to work on the same folder; the profile's provenance is a remark."""
        return {
            "format_version": FORMAT_VERSION,
            "identity": self.spec.identity.to_dict(),
            "profile": self.spec.profile.to_dict() | {"provenance": {}},
            "head_dim": self.spec.head_dim,
            "quantiser": self.quantiser.to_dict(),
            "bracket": {"shape": list(self.spec.bracket.shape), "dtype": str(self.spec.bracket.dtype)},
            "rows": self.rows,
            "rows_per_shard": self.rows_per_shard,
        }

    def _write_if_other(self, file: str, data: bytes) -> StoredFile:
        path = self.path / file
        same = path.exists() and path.read_bytes() == data
        return describe_file(self.path, file) if same else self._write(file, data)

    def _write(self, file: str, data: bytes | memoryview) -> StoredFile:
        return replace_file(self.path, file, data)

    def _check(self, rows: range, memories: Memories, chunks: Sequence[Chunk]) -> None:
        self.spec.identity.require_compatible(memories.spec.identity)
        if memories.spec.profile != self.spec.profile:
            raise ConfigError(f"The memories have profile {memories.spec.profile.name!r}, the bank {self.spec.profile.name!r}.")
        if len(memories) != len(rows) or len(chunks) != len(rows):
            raise ConfigError(f"The shard has {len(rows)} rows, not {len(memories)} memories and {len(chunks)} chunks.")
        for row, memory_id, chunk in zip(rows, memories.ids, chunks, strict=True):
            if memory_id != chunk.id:
                raise ConfigError(f"Row {row}: the memory has id {memory_id}, the chunk id {chunk.id}.")
        lengths = memories.lengths
        if not bool(((lengths >= 1) & (lengths <= 255)).all()):
            raise ConfigError(f"Lengths must lie between 1 and 255 tokens, not {int(lengths.min())} to {int(lengths.max())}.")

    def _check_complete(self, shards: tuple[Shard, ...], index: IndexRecord) -> None:
        expected = [(number, len(self.shard_rows(number))) for number in range(self.shard_count)]
        found = [(shard.index, shard.rows) for shard in shards]
        if found != expected:
            odd = sorted(set(expected) ^ set(found)) or found
            raise ConfigError(
                f"The bank needs shards 0 to {self.shard_count - 1}, each once; these (index, rows) are missing or extra: {odd}."
            )
        ids, counts = np.unique(ChunkTable(self.path, shards).ids, return_counts=True)
        if len(ids) != self.rows:
            raise ConfigError(f"Id {ids[counts > 1][0]} was written more than once; drop duplicate chunks first.")
        if index.rows != self.rows:
            raise ConfigError(f"The index holds {index.rows} vectors for {self.rows} memories.")


def _check_bracket(spec: MemorySpec) -> None:
    layers, heads, shape = spec.profile.layers, spec.profile.heads, tuple(spec.bracket.shape)
    if len(shape) != 5 or (*shape[:3], shape[4]) != (layers, 2, heads, spec.head_dim):
        raise ConfigError(f"The bracket has shape {shape}, but [L, 2, H, P, D] is ({layers}, 2, {heads}, P, {spec.head_dim}).")
