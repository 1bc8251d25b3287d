"""What a bank is made of: one immutable record that lists every data file with its length and checksum.

Everything here is plain data that goes to JSON and back. `commit.py` puts it on disk.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kmem import __version__
from kmem.errors import FormatVersionError
from kmem.identity import Identity
from kmem.kstore.stored import StoredFile
from kmem.profile import Profile

FORMAT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""Version 1 had no `ids` file: ids stood in the Parquet files alone. Before version 3 a digest was a bare sha256."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """`rows` memories of a generation, starting at `first_row`, and the files that hold them.

    kv and slot_position are None where the generation's records are written on demand.
    """

    index: int
    rows: int
    first_row: int
    kv: StoredFile | None
    slot_position: StoredFile | None
    length: StoredFile
    ids: StoredFile | None
    chunks: StoredFile

    @property
    def files(self) -> tuple[StoredFile, ...]:
        return tuple(file for file in (self.kv, self.slot_position, self.length, self.ids, self.chunks) if file is not None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Shard":
        first = "kv_file" in data  # format version 1

        def of(name: str) -> StoredFile | None:
            if first:
                return StoredFile.from_flat(data, name)
            return None if data[name] is None else StoredFile.from_dict(data[name])

        return cls(
            index=data["index"],
            rows=data["rows"],
            first_row=data["first_row"],
            kv=of("kv"),
            slot_position=of("slot_position"),
            length=StoredFile.from_flat(data, "length") if first else StoredFile.from_dict(data["length"]),
            ids=None if first else of("ids"),
            chunks=StoredFile.from_flat(data, "chunks") if first else StoredFile.from_dict(data["chunks"]),
        )


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The memories of one build, append or compaction: one Zarr array, `memories.zarr/<name>/kv`.

    `metadata` are the zarr.json files on the way to its arrays. `on_demand`: its records are files of their own, which this record
    does not list, each written when its memory is first needed (on_demand.py).
    """

    name: str
    rows: int
    rows_per_shard: int
    shards: tuple[Shard, ...]
    metadata: tuple[StoredFile, ...]
    on_demand: bool = False

    @property
    def files(self) -> tuple[StoredFile, ...]:
        return (*self.metadata, *(file for shard in self.shards for file in shard.files))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Generation":
        return cls(
            name=data["name"],
            rows=data["rows"],
            rows_per_shard=data["rows_per_shard"],
            shards=tuple(map(Shard.from_dict, data["shards"])),
            metadata=tuple(map(StoredFile.from_dict, data["metadata"])),
            on_demand=data.get("on_demand", False),
        )


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """The search index: the file it is `stored` in, how to search it, how well that works, and the embedder whose vectors it holds.

    `recall_at_5` is the share of the five exact neighbours found with `nprobe`, over `recall_sample` queries
    (1.0 over 0 queries for an exact index).
    """

    stored: StoredFile
    kind: str
    factory: str
    metric: str
    nprobe: int
    recall_at_5: float
    recall_sample: int
    embedder: Mapping[str, Any]
    rows: int
    dim: int

    def to_dict(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"stored": self.stored.to_dict(), "embedder": dict(self.embedder)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "IndexRecord":
        stored = StoredFile.from_dict(data.get("stored", data))  # side by side with the rest before format version 3
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name != "stored"}, stored=stored)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A state of the bank.

    encoder_dtype: precision the model encoded in. bracket_tokens: token ids of the bracket's prefix, then suffix.
    quantiser_tensors: the file of what the quantiser was trained to, None where it needs none.
    deleted: ids that are on disk but no longer part of the bank.
    """

    format_version: int = FORMAT_VERSION
    number: int
    kmem_version: str
    identity: Identity
    profile: Profile
    head_dim: int
    encoder_dtype: str
    quantiser: Mapping[str, Any]
    quantiser_tensors: StoredFile | None
    bracket: StoredFile
    bracket_tokens: tuple[int, ...]
    generations: tuple[Generation, ...]
    index: IndexRecord
    deleted: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Memories on disk, deleted ones included."""
        return sum(generation.rows for generation in self.generations)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every data file of the bank, the manifest itself left out."""
        trained = () if self.quantiser_tensors is None else (self.quantiser_tensors,)
        return (self.bracket, *trained, self.index.stored, *(file for generation in self.generations for file in generation.files))

    @property
    def on_demand(self) -> tuple[Generation, ...]:
        """The generations whose records are written on demand."""
        return tuple(generation for generation in self.generations if generation.on_demand)

    @property
    def next_number(self) -> int:
        """Number of the generation after these."""
        return 1 + max(int(generation.name[1:].partition("-")[0]) for generation in self.generations)

    def next_generation(self, ids: Iterable[int], rows_per_shard: int, *, on_demand: bool = False) -> str:
        """Its name, which says what goes in: of two writers at once, where there are no locks, none writes over the other's files."""
        content = " ".join(map(str, (rows_per_shard, *ids, *(("on demand",) if on_demand else ()))))
        return f"g{self.next_number:04d}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def changed(self, generations: tuple[Generation, ...], index: IndexRecord, deleted: Iterable[int]) -> "Manifest":
        """The state after this one."""
        return replace(
            self,
            number=self.number + 1,
            format_version=FORMAT_VERSION,
            kmem_version=__version__,
            generations=generations,
            index=index,
            deleted=tuple(sorted(deleted)),
        )

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "identity": self.identity.to_dict(),
            "profile": self.profile.to_dict(),
            "quantiser": dict(self.quantiser),
            "bracket": self.bracket.to_dict(),
            "quantiser_tensors": None if self.quantiser_tensors is None else self.quantiser_tensors.to_dict(),
            "generations": [generation.to_dict() for generation in self.generations],
            "index": self.index.to_dict(),
            "bracket_tokens": list(self.bracket_tokens),
            "deleted": list(self.deleted),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Manifest":
        """Raises FormatVersionError for a version this kmem does not know, KeyError or TypeError for missing or misshapen fields."""
        if data["format_version"] not in READABLE_VERSIONS:
            raise FormatVersionError(
                f"The bank has format version {data['format_version']}; kmem reads {', '.join(map(str, READABLE_VERSIONS))}; "
                "upgrade kmem (pip install --upgrade kmem)."
            )
        before = "bracket_file" in data  # format version 3
        return cls(
            **{field.name: data[field.name] for field in fields(cls) if field.name != "bracket"}
            | {
                "bracket": StoredFile.from_flat(data, "bracket") if before else StoredFile.from_dict(data["bracket"]),
                "identity": Identity.from_dict(data["identity"]),
                "profile": Profile.from_dict(data["profile"]),
                "generations": tuple(map(Generation.from_dict, data["generations"])),
                "quantiser_tensors": None if data["quantiser_tensors"] is None else StoredFile.from_dict(data["quantiser_tensors"]),
                "index": IndexRecord.from_dict(data["index"]),
                "bracket_tokens": tuple(data["bracket_tokens"]),
                "deleted": tuple(data["deleted"]),
            }
        )
