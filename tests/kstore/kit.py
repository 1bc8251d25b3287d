"""A tiny bank out of seeded random numbers, and an embedder that needs no model."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.identity import Identity
from kmem.kstore.commit import canonical_json
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.manifest import Manifest, Shard
from kmem.kstore.quant import Quantiser, quantiser
from kmem.kstore.quant.vq_train import train_vq
from kmem.kstore.writer import BankWriter
from kmem.memories import EMPTY_SLOT, Memories, MemorySpec
from kmem.profile import Profile

WORDS = ("hash", "table", "queue", "stack", "tree", "graph", "sort", "heap", "list", "array", "set", "map", "trie", "rope", "page", "disk")


class NgramEmbedder:
    """Hashes character trigrams into `dim` buckets: equal texts score 1, similar texts score high, on every machine alike."""

    def __init__(self, dim: int = 16, salt: str = "") -> None:
        self.dim, self.salt = dim, salt

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for start in range(max(1, len(text) - 2)):
                digest = hashlib.blake2b((self.salt + text[start : start + 3]).encode(), digest_size=8).digest()
                vectors[row, digest[0] % self.dim] += 1 if digest[1] % 2 else -1
            vectors[row, 0] += 1e-3
        if progress is not None:
            progress(len(texts))
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed(texts)

    def identity(self) -> dict[str, Any]:
        return {"name": "ngrams", "dim": self.dim, "salt": self.salt}


def tiny_spec(*, selector: str = "memory3", model: str = "tiny") -> MemorySpec:
    """L 2, H 2, S 6, D 8, with a bracket of 3 tokens."""
    profile = Profile(name="tiny", budget=((2, 0), (3, 1)), selector=selector)
    identity = Identity(model=model, architecture="a1", weights="w1", tokenizer="t1", bracket="b1", budget="2,0;3,1", selector=selector)
    bracket = torch.randn(2, 2, 2, 3, 8, generator=torch.Generator().manual_seed(7))
    return MemorySpec(profile=profile, identity=identity, bracket=bracket, head_dim=8, bracket_tokens=(1, 40, 41))


def tiny_chunks(count: int) -> list[Chunk]:
    chunks = []
    for row in range(count):
        picked = np.random.default_rng(row).choice(WORDS, size=6)
        text = " ".join([f"n{row}", *picked])
        chunks.append(
            Chunk(
                id=1_000_003 * (row + 1) % (2**61) + (row % 3 << 61),
                document_id=row // 2,
                source=f"tiny.txt#{row // 2}",
                title=f"Title {row}" if row % 2 else "",
                text=text,
                start=row * 10,
                end=row * 10 + len(text),
                tokens=row % 5 + 1,
            )
        )
    return chunks


def tiny_memories(spec: MemorySpec, chunks: Sequence[Chunk]) -> Memories:
    """Random keys and values that depend on each chunk's id alone; slots past the chunk's length are empty."""
    shape = (2, spec.profile.slots, spec.head_dim)
    kv = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(chunk.id % 2**31)) for chunk in chunks])
    lengths = torch.tensor([chunk.tokens for chunk in chunks])
    rank = torch.cat([torch.arange(tokens) for row in spec.profile.budget for tokens in row])
    empty = rank[None] >= lengths[:, None]
    kv[empty[:, None].expand(-1, 2, -1)] = 0
    slot_position = torch.where(empty, EMPTY_SLOT, rank[None]).to(torch.uint8)
    return Memories(kv=kv, slot_position=slot_position, lengths=lengths, ids=tuple(chunk.id for chunk in chunks), spec=spec)


@functools.cache
def tiny_codec(name: str) -> Quantiser:
    """The quantiser of this name, ready for memories of `tiny_spec`: `vq` is trained on forty of them, in two layer groups."""
    return train_vq(tiny_memories(tiny_spec(), tiny_chunks(40)), groups=2) if name == "vq" else quantiser(name)


def write_shards(writer: BankWriter, chunks: Sequence[Chunk], memories: Memories | None = None) -> list[Shard]:
    shards = []
    for index in range(writer.shard_count):
        rows = writer.shard_rows(index)
        part = chunks[rows.start : rows.stop]
        shards.append(writer.write_shard(index, memories.take(rows) if memories else tiny_memories(writer.spec, part), part))
    return shards


def write_bank(
    path: str | Path,
    *,
    count: int = 5,
    rows_per_shard: int = 2,
    name: str = "fp16",
    codec: Quantiser | None = None,
    embedder: Retriever | None = None,
    index: IndexConfig | None = None,
    memories: Memories | None = None,
) -> Manifest:
    """A committed bank of `count` memories, those of `tiny_memories` unless given; the last shard is partial unless the numbers divide."""
    embedder = embedder or NgramEmbedder()
    chunks = tiny_chunks(count)
    writer = BankWriter(path, tiny_spec(), codec or tiny_codec(name), count, rows_per_shard)
    shards = write_shards(writer, chunks, memories)
    vectors = embedder.embed([chunk.reference for chunk in chunks])
    ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
    record = writer.write_index(vectors, ids, embedder.identity(), index, texts=lambda: [chunk.reference for chunk in chunks])
    return writer.commit(shards, record)


def as_format_2(path: Path) -> None:
    """Give a bank of one state the manifest that kmem wrote before format version 3: bare sha256 digests, fields side by side."""
    manifest = path / "manifests/000001.json"
    data = json.loads(manifest.read_bytes(), object_hook=functools.partial(_with_sha256, path))
    bracket = data.pop("bracket")
    data |= {"bracket_file": bracket["file"], "bracket_bytes": bracket["size_bytes"], "bracket_sha256": bracket["sha256"]}
    data["format_version"] = 2
    data["index"] |= data["index"].pop("stored") | {"nprobe": data["index"].pop("search").get("nprobe", 0)}
    for name in ("vectors", "asked", "target_recall"):
        del data["index"][name]
    write_manifest_json(manifest, data)


def _with_sha256(path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    if "digest" in fields:
        del fields["digest"]
        fields["sha256"] = hashlib.sha256((path / fields["file"]).read_bytes()).hexdigest()
    return fields


def write_manifest_json(file: Path, data: dict[str, Any]) -> None:
    """A manifest of any fields, whole and with the checksum that they have."""
    plain = {key: value for key, value in data.items() if key != "checksum"}
    file.write_bytes(canonical_json(plain | {"checksum": hashlib.sha256(canonical_json(plain)).hexdigest()}) + b"\n")


def write_cold_bank(path: str | Path, *, count: int = 5, rows_per_shard: int = 2, name: str = "fp16") -> Manifest:
    """The bank of `write_bank` before any of its memories was encoded."""
    embedder, chunks = NgramEmbedder(), tiny_chunks(count)
    writer = BankWriter(path, tiny_spec(), tiny_codec(name), count, rows_per_shard, on_demand=True)
    shards = []
    for index in range(writer.shard_count):
        rows = writer.shard_rows(index)
        shards.append(writer.generation.write_texts(index, chunks[rows.start : rows.stop]))
    vectors = embedder.embed([chunk.reference for chunk in chunks])
    ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
    return writer.commit(shards, writer.write_index(vectors, ids, embedder.identity()))


def contents(path: Path) -> dict[str, bytes]:
    """Every file below `path`, relative name → bytes."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@contextmanager
def damaged(file: Path, data: bytes) -> Iterator[None]:
    """The file holds other bytes for a while."""
    before = file.read_bytes()
    file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(before)
