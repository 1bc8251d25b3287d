"""Reading a bank: search its texts, read its memories. Nothing here ever writes."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from kmem.arguments import path_or_url, require_count, require_text
from kmem.document import Chunk
from kmem.errors import BankNotFoundError, ConfigError, CorruptBankError, MemoryNotFoundError, UnknownNameError, WrongTypeError
from kmem.identity import Identity
from kmem.kstore.chunks import ChunkTable
from kmem.kstore.claim import has_begun
from kmem.kstore.commit import held_manifest, manifest_file
from kmem.kstore.defaults import TOP_K
from kmem.kstore.ids import Ids
from kmem.kstore.index.queries import Queries
from kmem.kstore.index.reading import OpenIndex
from kmem.kstore.index.retriever import Retriever, require_same_embedder
from kmem.kstore.index.retrievers import recorded_retriever
from kmem.kstore.manifest import Manifest
from kmem.kstore.on_demand import RecordFiles
from kmem.kstore.parts import Parts
from kmem.kstore.place import Place, place_of
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.quant import Quantiser, load_quantiser
from kmem.kstore.shard import Verify, verify_of
from kmem.kstore.stored import StoredFile, describe, read_verified, require_sizes, require_unaltered
from kmem.memories import EMPTY_SLOT, UNREAD_POSITION, Memories, MemorySpec
from kmem.profile import Profile

WARM_SHARDS = 256
"""Remote banks of more shards than this read a shard's index when it is first touched."""

TEXTS_AT_ONCE = 1024
Hidden = Callable[[Manifest], Retriever]
"""Gives the hidden states of the model that a manifest names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A memory that a search found; `text` is `document[start:end]`. What `score` is, higher being nearer, depends on the bank's retriever:

    the cosine to the query for one of vectors, the BM25 sum for `bm25` (above 0, without a ceiling), for `hybrid` the mean of
    both, each in standard deviations above the mean of its list. Scores of two banks with words, or of two retrievers, don't compare.
    """

    id: int
    score: float
    text: str
    source: str
    title: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSizes:
    """`record_bytes` and `payload_bytes` count keys and values alone (one memory, all that are encoded); `stored_bytes` every file."""

    memories: int
    encoded: int
    record_bytes: int
    payload_bytes: int
    stored_bytes: int


class Bank:
    """A bank open for reading; `open_bank` makes one. Safe to use from threads.

    It stays as it was when it was opened, whatever is appended, deleted or compacted meanwhile. Opening reads the manifest and the
    Zarr metadata and compares the lengths of all files. Everything else is read, and its checksum compared, when first used: any
    method can raise CorruptBankError, which names the file and the values.
    """

    def __init__(
        self,
        place: Place,
        manifest: Manifest,
        embedder: Retriever | None = None,
        verify: Verify = "first",
        let_go: Callable[[], None] = lambda: None,
        hidden: Hidden | None = None,
    ) -> None:
        self.place, self.manifest = place, manifest
        self.quantiser = _quantiser(place, manifest)
        self._deleted = frozenset(manifest.deleted)
        self._given_embedder, self._hidden = embedder, hidden
        self._closed = False
        self._parts = Parts(place, manifest, self.quantiser, verify)
        self._chunks = ChunkTable(place, self._parts.shards)
        self._ids = Ids([shard.rows for shard in self._parts.shards], self._ids_of_shard)
        self._let_go = weakref.finalize(self, let_go)  # last: whoever fails before lets go himself

    def __len__(self) -> int:
        return self.manifest.rows - len(self._deleted)

    def __repr__(self) -> str:
        return f"Bank({str(self.place)!r}, {len(self)} memories of {self.identity.model})"

    def __enter__(self) -> "Bank":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all mapped files; reading afterwards raises ConfigError."""
        self._closed = True
        self.place.close()
        self._let_go()

    def warm_up(self) -> None:
        """In an object store, read now what would cost a request later: ids, the bracket, where every record lies, how long it is."""
        if self.place.folder is None and len(self._parts.shards) <= WARM_SHARDS:
            self._parts.open_all()
            self._ids.positions([])
            assert self.spec.bracket is not None

    @property
    def identity(self) -> Identity:
        return self.manifest.identity

    @property
    def profile(self) -> Profile:
        return self.manifest.profile

    @property
    def budget(self) -> tuple[tuple[int, ...], ...]:
        """[L][H] tokens kept at each layer and key-value head."""
        return self.profile.budget

    @cached_property
    def spec(self) -> MemorySpec:
        """Profile, identity and bracket of all memories here; reads the bracket."""
        data = read_verified(self.place, self.manifest.bracket)
        bracket = safetensors.torch.load(data)["bracket"]
        layers, heads, head_dim = self.profile.layers, self.profile.heads, self.manifest.head_dim
        if bracket.ndim != 5 or (*bracket.shape[:3], bracket.shape[4]) != (layers, 2, heads, head_dim):
            shapes = f"shape {tuple(bracket.shape)}, but the manifest makes [L, 2, H, P, D] ({layers}, 2, {heads}, P, {head_dim})"
            raise CorruptBankError(f"{self.place.at(self.manifest.bracket.file)} has {shapes}; {RESTORE}")
        return MemorySpec(
            profile=self.profile,
            identity=self.identity,
            bracket=bracket,
            head_dim=head_dim,
            bracket_tokens=self.manifest.bracket_tokens,
        )

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """[N] ids of the memories, in the order they were written."""
        ids = self._ids.all
        return ids[~np.isin(ids, list(self._deleted))] if self._deleted else ids

    @property
    def all_ids(self) -> NDArray[np.int64]:
        """[N] ids on disk, deleted ones included."""
        return self._ids.all

    @property
    def record_bytes(self) -> int:
        """Bytes of one memory as it is stored, its checksum left out."""
        return self._parts.record_bytes

    def search(self, text: str, k: int = TOP_K) -> list[Hit]:
        """The k memories whose text is nearest to `text`, best first; fewer only when the bank holds fewer, or when, with `bm25`,
        fewer share a word with `text`.

        Raises ConfigError for an empty text, and what `search_many` raises.
        """
        require_text(text, "query")
        return self.search_many([text], k)[0]

    def search_many(self, texts: Sequence[str], k: int = TOP_K) -> list[list[Hit]]:
        """The hits of each text, as `search` finds them, embedded in one go.

        Raises ConfigError for k < 1, IdentityMismatchError when the installed embedder is not the one that made the index.
        """
        self._require_open()
        if isinstance(texts, str):
            raise WrongTypeError("search_many takes a list of texts, not one string; use search.")
        require_count(k, "k")
        if not texts:
            return []
        scores, ids = self.nearest(self.queries(texts), k)
        return [
            [self._hit(int(memory_id), float(score)) for score, memory_id in zip(*row, strict=True) if memory_id >= 0]
            for row in zip(scores, ids, strict=True)
        ]

    def queries(self, texts: Sequence[str]) -> Queries:
        """The texts as `nearest` takes them. Raises IdentityMismatchError as `search_many` does."""
        self._require_open()
        vectors = np.ascontiguousarray(self._embedder.embed_queries(texts), dtype=np.float32)
        return Queries(vectors=vectors, texts=tuple(texts))

    def nearest(self, queries: Queries, k: int = TOP_K) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores (as in Hit) and ids [n, k] of the memories nearest to n queries, best first; id −1 where there are fewer.

        No text is read. Raises CorruptBankError when the index knows an id that the memories do not.
        """
        self._require_open()
        scores, ids = self._index.search(queries, k, self.manifest.deleted)
        found = ids[ids >= 0]
        try:
            self._ids.positions(found.tolist())
        except MemoryNotFoundError as error:
            index, unknown = self.place.at(self.manifest.index.stored.file), np.setdiff1d(found, self.all_ids)[0]
            raise CorruptBankError(f"{index} knows id {unknown}, of which the bank holds no memory; {RESTORE}") from error
        return scores, ids

    def read(self, ids: Sequence[int], *, positions: bool = True) -> Memories:
        """The memories with these ids, in this order; without `positions`, which generating doesn't need, fewer bytes are read.

        Raises MemoryNotFoundError naming an id that is not here, MemoryNotEncodedError naming those that were built without encoding.
        """
        if not isinstance(ids, Iterable):
            raise WrongTypeError(f"read takes a list of ids, not {ids!r:.40}; put a single one in a list.")
        records = self.buffer(len(ids))
        self.read_into(ids, records)
        at = self._locate(ids)
        lengths = self._parts.lengths(at)
        return Memories(
            kv=self.quantiser.decode(records),
            slot_position=torch.from_numpy(self._parts.slot_position(at)) if positions else self.unread_positions(lengths),
            lengths=torch.from_numpy(lengths),
            ids=tuple(int(memory_id) for memory_id in ids),
            spec=self.spec,
        )

    def read_into(self, ids: Sequence[int], out: NDArray[Any]) -> None:
        """Copy the records of these memories, as they are stored, into `out`: [n, *record_shape] of `record_dtype`, contiguous.

        Raises MemoryNotFoundError and MemoryNotEncodedError as `read` does, ConfigError for another `out`.
        """
        at = self._locate(ids)
        expected = (len(at), *self._parts.record_shape)
        if out.shape != expected or out.dtype != self._parts.record_dtype or not out.flags.c_contiguous:
            raise ConfigError(
                f"Records go into a contiguous {self._parts.record_dtype} array of shape {expected}, not {out.dtype} {out.shape}."
            )
        self._parts.read_into(at, out)

    def buffer(self, count: int) -> NDArray[Any]:
        """[count, *record_shape] to read into: pinned where there is a GPU, which then copies it without the processor's help."""
        size = count * self._parts.record_bytes
        raw = torch.empty(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        return raw.numpy().view(self._parts.record_dtype).reshape(count, *self._parts.record_shape)

    def encoded(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """[n] whether the keys and values of these memories are stored now: all are, unless the bank was built without encoding."""
        return self._parts.encoded(self._locate(ids)) if self._parts.on_demand else np.ones(len(ids), dtype=bool)

    def record_files(self, ids: Sequence[int]) -> list[tuple[RecordFiles, int] | None]:
        """Where each record is to be written on demand: the files and its row; None for one that lies in a shard."""
        return [self._parts.record_file(*at) for at in self._locate(ids)]

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one memory as it is stored."""
        return self._parts.record_shape

    @property
    def record_dtype(self) -> np.dtype[Any]:
        """Element type of a memory as it is stored."""
        return self._parts.record_dtype

    def slot_position(self, ids: Sequence[int]) -> torch.Tensor:
        """[n, S] uint8, token of the chunk that each slot keeps, EMPTY_SLOT where it keeps none. Raises as `read` does."""
        return torch.from_numpy(self._parts.slot_position(self._locate(ids)))

    def lengths(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """[n] tokens of the chunks. Raises MemoryNotFoundError."""
        return self._parts.lengths(self._locate(ids))

    def chunk(self, memory_id: int) -> Chunk:
        """The chunk behind a memory, with its `reference` text. Raises MemoryNotFoundError."""
        return self.chunks([memory_id])[0]

    def chunks(self, ids: Sequence[int]) -> list[Chunk]:
        """The chunks behind memories. Raises MemoryNotFoundError."""
        return self._chunks.at(self._locate(ids))

    def all_references(self) -> Iterator[str]:
        """The text behind every memory on disk, in the order of `all_ids`."""
        return (chunk.reference for chunk in self.all_chunks())

    def all_chunks(self) -> Iterator[Chunk]:
        """The chunk behind every memory on disk, in the order of `all_ids`."""
        for number, shard in enumerate(self._parts.shards):
            for start in range(0, shard.rows, TEXTS_AT_ONCE):
                rows = range(start, min(start + TEXTS_AT_ONCE, shard.rows))
                yield from self._chunks.chunks(number, rows)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """[n, dim] the vectors that were indexed for these ids; dim 0 where the index holds words alone."""
        return self._index.vectors(ids)

    def files(self) -> tuple[StoredFile, ...]:
        """Every data file that the manifest lists, and the manifest."""
        file = manifest_file(self.manifest.number)
        return (*self.manifest.files, describe(file, self.place.read(file)))

    def verify(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Read every data file, and record written on demand, and compare its checksum → how many there are.

        `progress` is told how many are done, and how many there are. Raises CorruptBankError that names every file that differs.
        """
        self._require_open()
        damage = []
        checks: list[Callable[[], None]] = [
            *(partial(require_unaltered, self.place, file) for file in self.manifest.files),
            *self._parts.checks(),
        ]
        for done, check in enumerate(checks, 1):
            try:
                check()
            except CorruptBankError as error:
                damage.append(str(error))
            if progress is not None:
                progress(done, len(checks))
        if damage:
            raise CorruptBankError("\n".join(damage))
        return len(checks)

    def verify_texts(self) -> None:
        """Compare every text with its own sha256, and the ids of texts, records and index. Raises CorruptBankError for what differs."""
        self._require_open()
        for number in range(len(self._parts.shards)):
            self._chunks.require_texts(number)
            if not np.array_equal(self._chunks.ids(number), self._ids_of_shard(number)):
                raise CorruptBankError(f"{self.place}: shard {number} has other ids beside its records than beside its texts; {RESTORE}")
        self.vectors(self.all_ids.tolist())
        if self._index.rows != len(self.all_ids):
            index = self.place.at(self.manifest.index.stored.file)
            counts = f"{self._index.rows} texts for {len(self.all_ids)} memories"
            raise CorruptBankError(f"{index} holds {counts}; make it again with kmem verify --repair-index.")

    def sizes(self) -> BankSizes:
        """What `kmem info` shows."""
        record_bytes = self._parts.record_bytes
        encoded = int(self.encoded(self.ids.tolist()).sum()) if self._parts.on_demand else len(self)
        return BankSizes(
            memories=len(self),
            encoded=encoded,
            record_bytes=record_bytes,
            payload_bytes=record_bytes * encoded,
            stored_bytes=sum(file.size_bytes for file in self.files()) + sum(files.stored_bytes() for files in self._parts.on_demand),
        )

    @cached_property
    def _index(self) -> OpenIndex:
        return OpenIndex(self.place, self.manifest.index)

    @cached_property
    def _embedder(self) -> Retriever:
        recorded = self.manifest.index.embedder
        hidden = None if self._hidden is None else partial(self._hidden, self.manifest)
        embedder = self._given_embedder or recorded_retriever(recorded, hidden=hidden)
        require_same_embedder(recorded, embedder.identity())
        return embedder

    def filled(self, ids: Sequence[int]) -> torch.Tensor:
        """[n, S] which slots of these memories keep a token. Raises MemoryNotFoundError."""
        return torch.from_numpy(self._filled(self.lengths(ids)))

    def unread_positions(self, lengths: NDArray[np.int64]) -> torch.Tensor:
        """[n, S] uint8, slot positions of memories of lengths [n] where nobody read them."""
        return torch.from_numpy(np.where(self._filled(lengths), UNREAD_POSITION, EMPTY_SLOT).astype(np.uint8))

    def _filled(self, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[n, S] which slots memories of lengths [n] fill: a head fills from its first slot, one a token."""
        filled: NDArray[np.bool_] = self.profile.slot_rank[None] < lengths[:, None]
        return filled

    def _ids_of_shard(self, number: int) -> NDArray[np.int64]:
        stored = self._parts.ids(number)
        return self._chunks.ids(number) if stored is None else stored

    def _locate(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Shard and row of each id."""
        self._require_open()
        for memory_id in ids:
            if not isinstance(memory_id, int | np.integer) or isinstance(memory_id, bool):
                raise WrongTypeError(f"An id is a whole number, not {memory_id!r:.40} ({type(memory_id).__name__}).")
            if memory_id in self._deleted:
                raise MemoryNotFoundError(f"Memory {memory_id} was deleted from the bank.")
        return [self._ids.locate(position) for position in self._ids.positions(ids)]

    def _hit(self, memory_id: int, score: float) -> Hit:
        chunk = self.chunk(memory_id)
        return Hit(
            id=memory_id,
            score=score,
            text=chunk.text,
            source=chunk.source,
            title=chunk.title,
            start=chunk.start,
            end=chunk.end,
            tokens=chunk.tokens,
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigError(f"The bank {self.place} was closed; open it again.")


def _quantiser(place: Place, manifest: Manifest) -> Quantiser:
    trained = manifest.quantiser_tensors
    tensors = {} if trained is None else safetensors.torch.load(read_verified(place, trained))
    try:
        found = load_quantiser(manifest.quantiser, tensors)
        found.record_shape(manifest.profile.slots, manifest.head_dim)
        return found
    except UnknownNameError:
        raise
    except (KeyError, ValueError) as error:
        file = place.at(manifest_file(manifest.number))
        raise CorruptBankError(f"{file} was altered: quantiser and quantiser_tensors don't belong to it ({error}); {RESTORE}") from error


def open_bank(
    path: str | Path, embedder: Retriever | None = None, *, hidden: Hidden | None = None, verify: Verify | bool = "first"
) -> Bank:
    """Open the bank in the folder, or at the URL, `path`.

    embedder: for searching; the one the index names unless given. hidden: asked for it by the first search where the index was made of
    hidden states of the bank's model. verify: when a record's checksum is compared, the `first` time that it is read (or False), or
    `always` (True).
    Raises UnknownNameError for another `verify`, BankNotFoundError when there is none, CorruptBankError when a file is missing, has
    another length or was altered, FormatVersionError when kmem is too old for it, IdentityMismatchError when `embedder` did not make its
    index, WrongTypeError when it is a name.
    """
    place, verify = place_of(path_or_url(path, "The bank")), verify_of(verify)
    if isinstance(embedder, str):
        raise WrongTypeError(f"embedder is {embedder!r}, a name and no retriever; leave it out, the bank records which one made its index.")
    if place.folder is not None and not place.folder.is_dir():
        raise BankNotFoundError(f"There is no bank at {place}: {'that is a file' if place.folder.exists() else 'no such folder'}.")
    manifest, let_go = held_manifest(place)
    if manifest is None:
        if has_begun(place):
            raise BankNotFoundError(
                f"{place} holds an unfinished build, not yet a bank; repeat the command that began it (kmem build with --resume)."
            )
        raise BankNotFoundError(f"{place} holds no bank; make one with kmem build.")
    try:
        require_sizes(place, manifest.files)
        for generation in manifest.generations:
            for file in generation.metadata:
                read_verified(place, file)
        if embedder is not None:
            require_same_embedder(manifest.index.embedder, embedder.identity())
        bank = Bank(place, manifest, embedder, verify, let_go, hidden)
    except BaseException:
        let_go()
        raise
    bank.warm_up()
    return bank
