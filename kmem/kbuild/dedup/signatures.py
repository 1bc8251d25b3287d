"""Texts → signatures: what deduplication compares, and all that it needs of a partition."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from zipfile import BadZipFile

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.kbuild.dedup.classes import character_classes
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.shingles import minhash

_SEED = 7
"""Of the permutations: signatures compare only where it is the same."""
_EXACT_BYTES = 16
_BLOCK = 256
_EMPTY = np.iinfo(np.uint32).max
_GOLDEN, _HIGH = np.uint32(0x9E3779B1), np.uint32(24)
"""Fibonacci hashing: the highest 8 bits of the product depend on all bits of the value."""


@dataclass(frozen=True, kw_only=True)
class Signatures:
    """Of N texts, in order.

    exact [N, 2] uint64: a hash of the title and the text, runs of whitespace as one space. title [N] uint64: a hash of the title but for
    case and whitespace, 0 for none. words [N] int32: how many words the text has, its title included, as in all that follows.
    numbers, others [N] uint64: hashes of the words that are numbers and of those that are not, in any order.
    minhash [N, permutations] uint8: of the least shingle under each permutation a hash of 8 bits, which for two shingles is the same once
    in 256 (Li and König, b-bit minwise hashing, 2010). Only `exact` is filled when near-duplicates are not sought.
    """

    exact: NDArray[np.uint64]
    title: NDArray[np.uint64]
    words: NDArray[np.int32]
    numbers: NDArray[np.uint64]
    others: NDArray[np.uint64]
    minhash: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.words)

    def save(self) -> bytes:
        """The bytes of an uncompressed .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> "Signatures":
        """What `save` gave. Raises CorruptBankError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise CorruptBankError(f"These are no signatures of texts ({error!r}): delete the file and build again.") from error


class Signer:
    """Signs one text after another."""

    def __init__(self, config: DedupConfig) -> None:
        self._near = config.mode == "near"
        self._width = config.shingle_words
        permutations = config.permutations if self._near else 0
        random = np.random.default_rng(_SEED)
        self._factors = random.integers(0, 1 << 31, permutations, np.uint32) * np.uint32(2) + np.uint32(1)
        self._offsets = random.integers(0, 1 << 32, permutations, np.uint32)
        self._exact: list[bytes] = []
        self._titles: list[int] = []
        self._words: list[int] = []
        self._sums: list[NDArray[np.uint64]] = []
        self._minhash: list[NDArray[np.uint8]] = []
        self._block, self._block_sums = np.full((_BLOCK, permutations), _EMPTY, np.uint32), np.zeros((_BLOCK, 2), np.uint64)
        self._filled = 0

    def add(self, text: str, title: str = "") -> None:
        """One more text."""
        passage = f"{title}: {text}" if title else text
        self._exact.append(blake3(" ".join(passage.split()).encode()).digest(_EXACT_BYTES))
        if self._filled == _BLOCK:
            self._close()
        words, title_hash = 0, 0
        if self._near:
            title_hash = _title(title) if title else 0
            characters = np.frombuffer(passage.casefold().encode("utf-32-le"), np.uint32)
            words = minhash(
                characters, character_classes(), self._width, self._factors, self._offsets, self._block, self._block_sums, self._filled
            )
        self._titles.append(title_hash)
        self._words.append(words)
        self._filled += 1

    def _close(self) -> None:
        """Keep a byte of each value, for many texts at once."""
        filled = self._block[: self._filled]
        self._minhash.append(((filled * _GOLDEN) >> _HIGH).astype(np.uint8))
        self._sums.append(self._block_sums[: self._filled].copy())
        filled[:] = _EMPTY
        self._filled = 0

    def signatures(self) -> Signatures:
        """Of all texts so far, in order."""
        self._close()
        sums = np.concatenate(self._sums)
        return Signatures(
            exact=np.frombuffer(b"".join(self._exact), np.uint64).reshape(-1, 2),
            title=np.array(self._titles, np.uint64),
            words=np.array(self._words, np.int32),
            numbers=sums[:, 0].copy(),
            others=sums[:, 1].copy(),
            minhash=np.concatenate(self._minhash),
        )


def sign(texts: Iterable[str], config: DedupConfig, titles: Iterable[str] | None = None) -> Signatures:
    """The signatures of the texts, with a title for each, "" for none, or without titles."""
    signer = Signer(config)
    for text, title in zip(texts, titles, strict=True) if titles is not None else ((text, "") for text in texts):
        signer.add(text, title)
    return signer.signatures()


def _title(title: str) -> int:
    plain = " ".join(title.casefold().split())
    return int.from_bytes(blake3(plain.encode()).digest(8), "little") if plain else 0
