"""What a bank is made of: one immutable record that lists every data file with its length and checksum.

Everything here is plain data that goes to JSON and back. `commit.py` puts it on disk.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kmem import __version__
from kmem.errors import ConfigError, FormatVersionError
from kmem.identity import Identity
from kmem.kstore.fields import MOST, Fields
from kmem.kstore.index.factory import AUTO, parse_factory, require_factory
from kmem.kstore.index.stats import IndexStats
from kmem.kstore.stored import StoredFile
from kmem.profile import Profile

FORMAT_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""Version 1 had no `ids` file: ids stood in the Parquet files alone. Before version 3 a digest was a bare sha256.

Before version 4 an index was exact or had inverted lists, chosen by the number of rows, with one number to search by.
"""
BEFORE_TARGET_RECALL = 0.95
"""What indexes were tuned to before version 4 wrote it down."""
WORDS, BM25 = "words", "BM25"
"""Kind and factory of an index of words without vectors."""

_GENERATION = re.compile(r"g\d{4,9}(-\w+)?")


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
    def from_dict(cls, data: object) -> "Shard":
        """The shard of a `to_dict()` that went through JSON. Raises ValueError naming a field that is missing or misshapen."""
        return cls.of(Fields(data))

    @classmethod
    def of(cls, data: Fields) -> "Shard":
        """As `from_dict` does."""
        first = "kv_file" in data  # format version 1

        def stored(name: str) -> StoredFile:
            return StoredFile.from_flat(data, name) if first else StoredFile.of(data.inner(name))

        def stored_or_none(name: str) -> StoredFile | None:
            return None if not first and data.get(name) is None else stored(name)

        return cls(
            index=data.count("index"),
            rows=data.count("rows", least=1),
            first_row=data.count("first_row"),
            kv=stored_or_none("kv"),
            slot_position=stored_or_none("slot_position"),
            length=stored("length"),
            ids=None if first else stored_or_none("ids"),
            chunks=stored("chunks"),
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
    def of(cls, data: Fields) -> "Generation":
        """Raises ValueError naming a field that is missing or misshapen, or does not agree with another one."""
        generation = cls(
            name=data.text("name"),
            rows=data.count("rows", least=1),
            rows_per_shard=data.count("rows_per_shard", least=1),
            shards=tuple(map(Shard.of, data.inners("shards"))),
            metadata=tuple(map(StoredFile.of, data.inners("metadata"))),
            on_demand="on_demand" in data and data.flag("on_demand"),
        )
        if not _GENERATION.fullmatch(generation.name):
            raise ValueError(f"{data.name_of('name')} is {generation.name!r:.40}, not like g0000")
        generation._require_agreement(data.name_of("shards"))
        return generation

    def _require_agreement(self, shards: str) -> None:
        """Raise ValueError unless the shards are the rows cut evenly, each with the files that its kind has."""
        if len(self.shards) != -(-self.rows // self.rows_per_shard):
            raise ValueError(f"{shards} are {len(self.shards)} where {self.rows} rows are cut by {self.rows_per_shard}")
        for number, shard in enumerate(self.shards):
            first = number * self.rows_per_shard
            expected = (number, first, min(self.rows_per_shard, self.rows - first))
            found = (shard.index, shard.first_row, shard.rows)
            if found != expected:
                raise ValueError(f"{shards}[{number}] has index, first_row and rows {found}, not {expected}")
            if (shard.kv is None) != self.on_demand or (shard.slot_position is None) != self.on_demand:
                raise ValueError(f"{shards}[{number}] lists kv and slot_position, or doesn't, against on_demand")
            if shard.ids is None and self.on_demand:
                raise ValueError(f"{shards}[{number}].ids is null, which no generation on demand has")


@dataclass(frozen=True, kw_only=True)
class IndexRecord(IndexStats):
    """The search index: the file it is `stored` in, how to search it, how well that works, and the embedder whose vectors it holds.

    `vectors` is the file of the vectors themselves where the index holds codes of them. `words` is the index of words beside that of
    vectors, if there is one; of kind `words`, where there are no vectors (`dim` 0), it is `stored` itself.
    """

    stored: StoredFile
    vectors: StoredFile | None
    embedder: Mapping[str, Any]
    words: StoredFile | None = None

    @property
    def has_vectors(self) -> bool:
        """Whether there is an index of vectors."""
        return self.kind != WORDS

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Each once."""
        words = None if self.words == self.stored else self.words
        return tuple(file for file in (self.stored, self.vectors, words) if file is not None)

    def to_dict(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        vectors = None if self.vectors is None else self.vectors.to_dict()
        nested = {"stored": self.stored.to_dict(), "vectors": vectors, "search": dict(self.search), "embedder": dict(self.embedder)}
        if self.words is None:
            del plain["words"]
        else:
            nested["words"] = self.words.to_dict()
        return plain | nested

    @classmethod
    def of(cls, data: Fields) -> "IndexRecord":
        """Raises ValueError naming a field that is missing or misshapen, or does not agree with another one."""
        data.inner("embedder").text("name")
        before = "nprobe" in data  # format version 4
        found = cls(
            stored=StoredFile.of(data.inner("stored") if "stored" in data else data),  # side by side before format version 3
            vectors=None if before or data.get("vectors") is None else StoredFile.of(data.inner("vectors")),
            kind=data.text("kind"),
            asked=AUTO if before else data.text("asked"),
            factory=data.text("factory"),
            metric=data.text("metric"),
            search=_search_before(data) if before else _search(data.inner("search"), data.plain("search")),
            target_recall=BEFORE_TARGET_RECALL if before else data.share("target_recall"),
            recall_at_5=data.share("recall_at_5"),
            recall_sample=data.count("recall_sample"),
            embedder=data.plain("embedder"),
            rows=data.count("rows", least=1),
            dim=data.count("dim", least=0 if data.get("kind") == WORDS else 1),
            words=StoredFile.of(data.inner("words")) if "words" in data and data.get("words") is not None else None,
        )
        found._require_agreement(data)
        return found

    def _require_agreement(self, data: Fields) -> None:
        """Raise ValueError unless kind, settings and files are the factory's, and kmem knows that and what was asked."""
        if self.target_recall == 0:
            raise ValueError(f"{data.name_of('target_recall')} is 0")
        try:
            require_factory(self.asked)
            factory = parse_factory(self.factory) if self.has_vectors else None
        except ConfigError as error:
            raise ValueError(f"{data.name_of('factory')}: {str(error).rstrip('.')}") from None
        if factory is None:
            if (self.factory, self.dim, self.words, self.vectors, dict(self.search)) != (BM25, 0, self.stored, None, {}):
                raise ValueError(f"{data.name_of('kind')} is {WORDS}, which factory, dim, words, vectors or search are not")
            return
        if self.kind != factory.kind or set(self.search) != set(factory.settings) or (self.vectors is None) != factory.exact:
            settings = " and ".join(f"{name} {value}" for name, value in self.search.items()) or "no settings"
            said = f"factory {self.factory!r:.40} with {settings} and {'no' if self.vectors is None else 'a'} file of vectors"
            raise ValueError(f"{data.name_of('kind')} is {self.kind!r:.40}, which {said} is not")


def _search(data: Fields, plain: Mapping[str, Any]) -> dict[str, int]:
    return {name: data.count(name, least=1) for name in plain}


def _search_before(data: Fields) -> dict[str, int]:
    """Format version 3: `nprobe` alone, 0 where there are no lists."""
    nprobe = data.count("nprobe")
    return {"nprobe": nprobe} if nprobe else {}


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
        return (self.bracket, *trained, *self.index.files, *(file for generation in self.generations for file in generation.files))

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
    def from_dict(cls, plain: object) -> "Manifest":
        """Raises FormatVersionError for a version this kmem does not know, ValueError naming a field that is missing or misshapen."""
        data = Fields(plain)
        version = data.count("format_version")
        if version not in READABLE_VERSIONS:
            raise FormatVersionError(
                f"The bank has format version {version}; kmem reads {', '.join(map(str, READABLE_VERSIONS))}; "
                "upgrade kmem (pip install --upgrade kmem)."
            )
        before = "bracket_file" in data  # format version 3
        identity, generations = data.inner("identity"), data.inners("generations")
        data.inner("quantiser").text("name")
        if not generations:
            raise ValueError("generations is empty")
        return cls(
            format_version=version,
            number=data.count("number", least=1),
            kmem_version=data.text("kmem_version"),
            identity=Identity.from_dict(
                {field.name: identity.text(field.name) for field in fields(Identity) if field.name != "adapter" or field.name in identity}
            ),
            profile=Profile.from_dict(data.plain("profile")),
            head_dim=data.count("head_dim", least=1),
            encoder_dtype=data.text("encoder_dtype"),
            quantiser=data.plain("quantiser"),
            quantiser_tensors=None if data.get("quantiser_tensors") is None else StoredFile.of(data.inner("quantiser_tensors")),
            bracket=StoredFile.from_flat(data, "bracket") if before else StoredFile.of(data.inner("bracket")),
            bracket_tokens=data.counts("bracket_tokens"),
            generations=tuple(map(Generation.of, generations)),
            index=IndexRecord.of(data.inner("index")),
            deleted=data.counts("deleted", least=-MOST),
        )
